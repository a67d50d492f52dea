"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from ratelimit.metrics import LABEL_MAX_CHARS, Metrics
from tests.unit.ratelimit.building import built, one


def page(metrics: Metrics) -> str:
    """The page of metrics."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


async def test_rules_are_counted_by_domain_and_path() -> None:
    """Total, within, near and over, under the label that the file gives the rule."""
    service = built("""
domain: d
descriptors:
  - key: a
    descriptors:
      - {key: b, value: c, rate_limit: {unit: day, requests_per_unit: 5}}
""")
    for _ in range(7):
        await service.ask("d", one("a=1", "b=c"))
    text = page(service.metrics)
    for name, hits in (("total", 7), ("within_limit", 5), ("near_limit", 1), ("over_limit", 2)):
        line = f'tollkeeper_ratelimit_rule_{name}_hits_total{{domain="d",rule="a.b_c"}} {hits}.0'
        assert line in text
    assert 'tollkeeper_ratelimit_answers_total{code="OVER_LIMIT"} 2.0' in text


async def test_values_never_become_labels_unasked() -> None:
    """A hundred values of a key, and of domains nobody knows, leave one label."""
    service = built(
        "domain: d\ndescriptors:\n  - {key: a, rate_limit: {unit: day, requests_per_unit: 5}}"
    )
    for number in range(100):
        await service.ask("d", one(f"a={number}"))
        await service.ask(f"unknown-{number}", one("a=1"))
        await service.ask("d", one(f"b{number}=1"))
    text = page(service.metrics)
    assert text.count("rule_total_hits_total{") == 1
    assert "unknown-7" not in text
    assert 'events_total{event="domain_not_found"} 100.0' in text


async def test_values_that_a_rule_asks_for_are_bounded() -> None:
    """Beyond the bound hits count under the rule's own label; long values are cut."""
    metrics = Metrics(values_max=3)
    for number in range(10):
        metrics.rule_by_value("d", f"a_{number}", "a").total += 1
    text = page(metrics)
    assert text.count("rule_total_hits_total{") == 4
    assert 'rule_total_hits_total{domain="d",rule="a"} 7.0' in text
    assert 'events_total{event="metric_values_dropped"} 7.0' in text
    metrics.rules_changed([("d", "a")])
    metrics.rule_by_value("d", "a_" + "x" * 5000, "a").total += 1
    ((_, label), _) = metrics.per_rule()[-1]
    assert len(label) == LABEL_MAX_CHARS


async def test_rules_that_are_gone_are_forgotten() -> None:
    """Labels do not pile up over years of changed files."""
    service = built(
        "domain: d\ndescriptors:\n  - {key: a, rate_limit: {unit: day, requests_per_unit: 5}}"
    )
    await service.ask("d", one("a=1"))
    service.metrics.rules_changed([("d", "other")])
    assert service.metrics.per_rule() == []


def test_strange_labels_do_not_break_the_page() -> None:
    """Newlines, quotes and braces of a value are escaped."""
    metrics = Metrics(values_max=3)
    metrics.rule_by_value("d", 'a_"}\n\0 x', "a").total += 1
    assert '\\"}\\n' in page(metrics)


def test_durations_fill_their_buckets() -> None:
    """Each answer is in the bucket of its duration and in every larger one."""
    metrics = Metrics(values_max=3)
    for duration_s in (0.0001, 0.004, 9.0):
        metrics.answered(duration_s)
    text = page(metrics)
    assert 'answer_seconds_bucket{le="0.00025"} 1.0' in text
    assert 'answer_seconds_bucket{le="0.005"} 2.0' in text
    assert 'answer_seconds_bucket{le="+Inf"} 3.0' in text
    assert "answer_seconds_count 3.0" in text
