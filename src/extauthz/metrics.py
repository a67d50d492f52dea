"""The front door's counts as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from extauthz.counts import BOUNDS_S, CheckCounts, DirectoryCounts, DirectoryState

PREFIX = "tollkeeper_authz"


class DoorCollector(Collector):
    """Shows the counts of one worker; register it with its ``CollectorRegistry``.

    Labels are bounded: routes by the configuration, codes by the table of refusals, the rest by
    what is written here.
    """

    def __init__(
        self,
        checks: CheckCounts,
        directory: DirectoryCounts,
        directory_state: Callable[[], DirectoryState],
    ) -> None:
        self._checks = checks
        self._directory = directory
        self._directory_state = directory_state

    def collect(self) -> Iterator[Metric]:
        """All metrics, read now."""
        yield from self._check_metrics()
        yield from self._lookup_metrics()
        yield from _state_metrics(self._directory_state())

    def _check_metrics(self) -> Iterator[Metric]:
        checks = self._checks
        decisions = CounterMetricFamily(
            f"{PREFIX}_checks", "Checks decided, by route and code.", labels=["route", "code"]
        )
        for (route, code), count in checks.decisions.copy().items():
            decisions.add_metric([route, code], count)
        yield decisions
        totals = list(accumulate(checks.buckets))
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        yield HistogramMetricFamily(
            f"{PREFIX}_check_duration_seconds",
            "From the arrival of a check to its decision.",
            buckets=list(zip(bounds, totals, strict=True)),
            sum_value=checks.sum_s,
        )
        yield _counter(f"{PREFIX}_faults", "Checks that ended without a decision.", checks.faults)
        yield GaugeMetricFamily(
            f"{PREFIX}_checks_in_flight", "Checks under way.", value=checks.in_flight
        )

    def _lookup_metrics(self) -> Iterator[Metric]:
        counts = self._directory
        lookups = {
            "hit": counts.hits,
            "unknown_hit": counts.unknown_hits,
            "miss": counts.misses,
            "stale": counts.stale,
            "unavailable": counts.unavailable,
            "overloaded": counts.overloads,
        }
        yield _counter(f"{PREFIX}_key_lookups", "Keys looked up in the directory.", lookups)
        queries = {"answered": counts.queries_answered, "failed": counts.queries_failed}
        yield _counter(f"{PREFIX}_key_queries", "Queries for keys to Postgres.", queries)
        yield _counter(f"{PREFIX}_changes", "Changes told by Postgres.", counts.changes)


def _state_metrics(state: DirectoryState) -> Iterator[Metric]:
    entries = {"known": state.known, "ready": state.ready, "unknown": state.unknown}
    family = GaugeMetricFamily(
        f"{PREFIX}_directory_entries", "Keys in memory, by layer.", labels=["kind"]
    )
    for kind, count in entries.items():
        family.add_metric([kind], count)
    yield family
    evicted = {
        "known": state.known_evicted,
        "ready": state.ready_evicted,
        "unknown": state.unknown_evicted,
    }
    yield _counter(f"{PREFIX}_directory_evictions", "Keys that had to make room.", evicted)
    yield GaugeMetricFamily(
        f"{PREFIX}_directory_waiting", "Keys that wait for Postgres.", value=state.waiting
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_directory_away", "1 while Postgres does not answer for keys.", value=state.away
    )


def _counter(name: str, text: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["kind"])
    for kind, value in values.copy().items():
        family.add_metric([kind], value)
    return family
