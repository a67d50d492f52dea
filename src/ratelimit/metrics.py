"""What Prometheus is told. Labels come from the files of rules and from short fixed lists, never
straight from a request, so their number is bounded whatever arrives.

Only where a rule asks for it (``detailed_metric``, ``value_to_metric``) do values of requests
become labels, and then only so many in all; the hits of later values count under the rule's
own label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ratelimit.counting import RuleCounts
from ratelimit.stores.lane import Lane

_PREFIX = "tollkeeper_ratelimit"
# A value may be as long as a header; the page of metrics must stay readable.
LABEL_MAX_CHARS = 200
# Around the deadline of the store and around what Envoy waits by default (20 ms).
DURATION_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.05, 0.1, 0.5)
_RULE_FAMILIES = {
    "total": "Hits of the rule.",
    "over_limit": "Hits that were over the limit.",
    "near_limit": "Hits above the near-limit ratio of the limit that still fitted.",
    "within_limit": "Hits that fitted.",
    "shadow_mode": "Hits over the limit that passed because the rule is in shadow mode.",
    "over_limit_cached": "Hits over the limit that were refused without asking the store.",
}


class Metrics(Collector):
    """Plain numbers, turned into metrics when somebody asks for them."""

    def __init__(self, values_max: int) -> None:
        self._values_max = values_max
        self._values = 0
        self._rules: dict[tuple[str, str], RuleCounts] = {}
        self.events: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()  # by overall code
        self.invalid: Counter[str] = Counter()  # by what was wrong
        self.without_store: Counter[tuple[str, str, str]] = Counter()  # domain, reason, answer
        self._durations = [0] * (len(DURATION_BUCKETS_S) + 1)
        self._duration_sum_s = 0.0
        self.lanes: Callable[[], Sequence[Lane]] = tuple
        self.gauges: dict[str, Callable[[], float]] = {}

    def rule(self, domain: str, label: str) -> RuleCounts:
        """The counts of a rule by the label that its file gives it."""
        counts = self._rules.get((domain, label))
        if counts is None:
            counts = self._rules[domain, label] = RuleCounts()
        return counts

    def rule_by_value(self, domain: str, label: str, own_label: str) -> RuleCounts:
        """The counts under a label with a request's values; under the rule's own when too many
        values were seen already."""
        label = label[:LABEL_MAX_CHARS]
        counts = self._rules.get((domain, label))
        if counts is not None:
            return counts
        if self._values >= self._values_max:
            self.events["metric_values_dropped"] += 1
            return self.rule(domain, own_label)
        self._values += 1
        return self.rule(domain, label)

    def per_rule(self) -> Sequence[tuple[tuple[str, str], RuleCounts]]:
        """The counts of every rule by domain and label."""
        return list(self._rules.items())

    def answered(self, duration_s: float) -> None:
        """A request was answered in so long."""
        self._durations[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        self._duration_sum_s += duration_s

    def rules_changed(self, labels: Iterable[tuple[str, str]]) -> None:
        """Forget rules that are gone, and every label with a request's value."""
        kept = set(labels)
        self._rules = {label: counts for label, counts in self._rules.items() if label in kept}
        self._values = 0

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for every page."""
        yield from self._rule_metrics()
        yield from self._service_metrics()
        yield from _lane_metrics(self.lanes())
        for name, read in self.gauges.items():
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", f"{name.replace('_', ' ')}.", read())

    def _rule_metrics(self) -> Iterator[Metric]:
        for name, help_text in _RULE_FAMILIES.items():
            family = CounterMetricFamily(
                f"{_PREFIX}_rule_{name}_hits", help_text, labels=["domain", "rule"]
            )
            for (domain, label), counts in self.per_rule():
                family.add_metric([domain, label], getattr(counts, name))
            yield family

    def _service_metrics(self) -> Iterator[Metric]:
        yield _counter("events", "What happened, by kind.", ["event"], self.events)
        yield _counter("answers", "Answers by overall code.", ["code"], self.answers)
        yield _counter("invalid_requests", "Requests refused as wrong.", ["reason"], self.invalid)
        yield _counter(
            "answers_without_store",
            "Answers given while the counters were away.",
            ["domain", "reason", "answer"],
            self.without_store,
        )
        counts = list(accumulate(self._durations))
        bounds = [*(str(bound) for bound in DURATION_BUCKETS_S), "+Inf"]
        yield HistogramMetricFamily(
            f"{_PREFIX}_answer_seconds",
            "From a request's message to its answer's.",
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._duration_sum_s,
        )


def _counter(
    name: str,
    help_text: str,
    labels: Sequence[str],
    counts: Mapping[Any, int],
) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", help_text, labels=labels)
    for key, count in list(counts.items()):
        family.add_metric([key] if isinstance(key, str) else list(key), count)
    return family


def _lane_metrics(lanes: Iterable[Lane]) -> Iterator[Metric]:
    label = ["server"]
    calls = CounterMetricFamily(f"{_PREFIX}_store_calls", "Script calls answered.", labels=label)
    requests = CounterMetricFamily(
        f"{_PREFIX}_store_requests", "Requests that those calls carried.", labels=label
    )
    seconds = CounterMetricFamily(
        f"{_PREFIX}_store_call_seconds", "Time that those calls took.", labels=label
    )
    faults = CounterMetricFamily(
        f"{_PREFIX}_store_faults", "Calls that failed.", labels=["server", "reason"]
    )
    turned_away = CounterMetricFamily(
        f"{_PREFIX}_store_turned_away", "Requests above the limit of waiting ones.", labels=label
    )
    opened = CounterMetricFamily(
        f"{_PREFIX}_store_breaker_opened", "Times the breaker opened.", labels=label
    )
    is_open = GaugeMetricFamily(
        f"{_PREFIX}_store_breaker_open", "1 while the server is left alone.", labels=label
    )
    for lane in lanes:
        name, counts = lane.server.name, lane.counts
        calls.add_metric([name], counts.calls)
        requests.add_metric([name], counts.requests)
        seconds.add_metric([name], counts.call_seconds)
        turned_away.add_metric([name], counts.turned_away)
        opened.add_metric([name], lane.breaker.opened)
        is_open.add_metric([name], float(lane.breaker.is_open))
        for reason, count in list(counts.faults.items()):
            faults.add_metric([name, reason], count)
    yield from (calls, requests, seconds, faults, turned_away, opened, is_open)
