"""Rules in words."""

from __future__ import annotations

from ratelimit.describe import described
from ratelimit.rule_files import load_texts


def test_a_line_per_rule() -> None:
    """In envoyproxy/ratelimit's form, with the algorithm and what belongs to it."""
    rules = load_texts(
        {
            "f.yaml": """
domain: d
descriptors:
  - {key: a, value: b*, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 5}}
  - {key: c, rate_limit: {unit: month, requests_per_unit: 5, billing_day: 3}}
  - {key: e, quota_mode: true, rate_limit: {unlimited: true}}
  - key: f
    rate_limit: {unit: second, requests_per_unit: 5, algorithm: token_bucket, burst: 8}
    descriptors: [{key: burst, parameter: burst}]
"""
        }
    )
    shade = "shadow_mode: true, quota_mode: false"
    flags = "shadow_mode: false, quota_mode: false"
    assert sorted("".join(described(rules)).splitlines()) == [
        f"d.a_b*: unit=DAY requests_per_unit=5, algorithm: fixed_window, {shade}",
        f"d.c: unit=MONTH requests_per_unit=5, algorithm: fixed_window, billing_day: 3, {flags}",
        "d.e: unlimited, shadow_mode: false, quota_mode: true",
        f"d.f: unit=SECOND requests_per_unit=5, algorithm: token_bucket, burst: 8, {flags}",
    ]
