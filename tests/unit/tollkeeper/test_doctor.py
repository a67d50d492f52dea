"""The doctor's judgements that need no server: clocks, and two ways to write one configuration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from billing.errors import ConfigError
from tollkeeper.doctor import (
    Finding,
    Patient,
    clock_finding,
    examine,
    examine_configuration,
    examine_prices,
)
from tollkeeper.doctor_envoy import comparable, differing
from tollkeeper.settings import load_settings


@pytest.mark.parametrize(
    ("skew_s", "verdict"), [(0.2, "ok"), (-0.2, "ok"), (5, "warn"), (-5, "warn"), (300, "bad")]
)
def test_clock_is_judged_by_its_distance(skew_s: float, verdict: str) -> None:
    """Either way: a fraction of a second is well, seconds are odd, a minute is wrong."""
    finding = clock_finding("postgres", timedelta(seconds=skew_s))
    assert finding.verdict == verdict
    assert bool(finding.remedy) is (verdict != "ok")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"a": 0, "b": False, "c": "", "d": [], "e": {}}, {}),
        ({"a": "0.25s"}, {"a": "0.250s"}),
        ({"a": 5}, {"a": "5"}),
        ({"a": 0.5}, {"a": "0.5"}),
        ({"a": "60s"}, {"a": "60s"}),
        ({"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": "1", "d": False}]}}),
        (
            {"node": {"id": "i", "cluster": "c"}},
            {"node": {"id": "i", "cluster": "c", "user_agent_name": "envoy", "extensions": [1]}},
        ),
        ({"secret": "x"}, {"secret": "[redacted]"}),
    ],
)
def test_one_configuration_written_in_two_ways_is_the_same(written: Any, told: Any) -> None:
    """Defaults left out, numbers as text, lengths of time in other digits, hidden values."""
    assert list(differing(comparable(written), comparable(told))) == []


@pytest.mark.parametrize(
    ("written", "told", "path"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "bootstrap.a.b"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "bootstrap.a[1]"),
        ({"a": [1, 2]}, {"a": [1]}, "bootstrap.a"),
        ({"a": 1}, {}, "bootstrap.a"),
        ({}, {"a": True}, "bootstrap.a"),
        ({"a": "0.25s"}, {"a": "0.5s"}, "bootstrap.a"),
    ],
)
def test_difference_is_named_by_its_path(written: Any, told: Any, path: str) -> None:
    """The first difference says where to look."""
    assert next(differing(comparable(written), comparable(told))) == path


async def test_fault_of_one_part_hides_no_other(tmp_path: Path) -> None:
    """An examination that raises becomes a finding, and the next one is made all the same."""

    async def examine_postgres(_patient: Patient) -> list[Finding]:
        raise ConfigError("not set")

    async def examine_redis(_patient: Patient) -> list[Finding]:
        return [Finding("redis", "ok", "there")]

    patient = Patient(load_settings(home=tmp_path), None, ())
    findings = await examine(patient, (examine_postgres, examine_redis))
    assert [(f.part, f.verdict, f.seen) for f in findings] == [
        ("postgres", "bad", "not set"),
        ("redis", "ok", "there"),
    ]
    assert "TOLLKEEPER_POSTGRES_DSN" in findings[0].remedy


async def test_a_broken_file_is_the_fault_of_no_part(tmp_path: Path) -> None:
    """The configuration is wrong, in one line; what would be held against it is skipped."""
    file = tmp_path / "tollkeeper.yaml"
    file.write_text("routes: 5\n")
    patient = Patient(load_settings(home=tmp_path, config_file=file), None, ())
    findings = await examine(patient, (examine_configuration, examine_prices))
    assert [(f.part, f.verdict) for f in findings] == [
        ("configuration", "bad"),
        ("prices", "skipped"),
    ]
    assert "tollkeeper.yaml:1: routes" in findings[0].seen
    assert "\n" not in findings[0].seen
    assert "envoy validate" in findings[0].remedy
    assert findings[1].remedy == "correct the configuration first"
