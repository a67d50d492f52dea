"""What the back door counts; made once per process by the wiring.

Labels are bounded: routes are those of the catalog and ``(unknown)``, everything else is a word of
the program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from accesslog.judge import Judged
from accesslog.spool import Spool
from billing.ledger import SettledBatch, Settlement

PREFIX = "tollkeeper_accesslog_"
MICROS = 1_000_000
LAG_SAMPLE = 16
"""One entry in so many has its lag observed: observing costs as much as pricing a tenth of it."""

LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


class AccessLogMetrics:
    """Names by Prometheus's conventions; times in seconds, money in nano-USD."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.entries = self._counter("entries", "Entries that came in, by kind.", "kind")
        self.messages = self._counter("messages", "Messages of the stream, by fate.", "fate")
        self.outcomes = self._counter(
            "outcomes", "Entries by route and row of the outcome table.", "route", "row"
        )
        self.refused = self._counter(
            "refused", "Entries whose ticket or content could not be settled.", "reason"
        )
        self.reviews = self._counter("needs_review", "Settled and left to a person.", "reason")
        self.ended = self._counter("ended", "Reservations that ended, by state.", "state")
        self.duplicates = self._counter("duplicates", "Entries that were settled before.")
        self.conflicts = self._counter("conflicts", "Entries that came again and differ.")
        self.extended = self._counter("extended", "Reservations of streams that go on.")
        self.quarantined = self._counter("quarantined", "Entries kept for a person.", "reason")
        self.units = self._counter(
            "settled_units", "Units given to the ledger to settle, by what they are of.", "meter"
        )
        self.charged = self._counter("charged_nano_usd", "What customers were charged.")
        self.retries = self._counter("retries", "Tries that failed, by class of fault.", "fault")
        self.published = self._counter("publications", "Told to the hot copy, by fate.", "fate")
        self.marked = self._counter("marked", "Entries dropped while the spool was full.")
        self.spool_faults = self._counter("spool_faults", "Damage to the spool.", "kind")
        self.adopted = self._counter(
            "spools_adopted", "Spools of settlers that are gone, by fate.", "fate"
        )
        self.expired = self._counter("expired", "Reservations whose entry never came.")
        self.batch_size = self._histogram("batch_size", "Entries of a settled batch.", SIZES)
        self.settle_s = self._histogram("settle_seconds", "One batch to COMMIT.", LATENCY_S)
        self.lag_s = self._histogram("lag_seconds", "End of a request to COMMIT.", LAG_S)
        self.held = Gauge(
            f"{PREFIX}streams_held",
            "Streams that are not read because the spool is full.",
            registry=registry,
        )
        self.streams = Gauge(f"{PREFIX}streams", "Open streams.", registry=registry)

    def watch(self, spool: Spool, now_us: Callable[[], int]) -> None:
        """Show the depth of the spool whenever somebody looks."""

        def age_s() -> float:
            oldest_us = spool.oldest_us
            return 0.0 if oldest_us is None else max(0, now_us() - oldest_us) / MICROS

        self._gauge("spool_bytes", "Size on disk.").set_function(lambda: spool.size_bytes)
        self._gauge("spool_records", "Not yet settled.").set_function(lambda: spool.records)
        self._gauge("spool_age_seconds", "Of the oldest record.").set_function(age_s)

    def watch_adopted(self, records: Callable[[], int]) -> None:
        """Show how much is left of the spool that is taken over."""
        self._gauge("adopted_records", "Left by another settler.").set_function(records)

    def judged(self, judged: Judged) -> None:
        """Count what a batch was made of."""
        for (route, row), count in judged.decided.items():
            self.outcomes.labels(route, row).inc(count)
        for reason, count in judged.refused.items():
            self.refused.labels(reason).inc(count)
        for _, settlement in judged.priced:
            if settlement.review:
                self.reviews.labels(settlement.review.partition(":")[0].partition(",")[0]).inc()

    def settled(self, batch: SettledBatch, settlements: Sequence[Settlement], now_us: int) -> None:
        """Count what a committed batch did."""
        for state in ("settled", "released", "late"):
            count = getattr(batch, state)
            if count:
                self.ended.labels(state).inc(count)
        self.duplicates.inc(batch.duplicates)
        self.conflicts.inc(len(batch.conflicts))
        self.charged.inc(batch.charged_nanos)
        for meter, units in units_by_meter(settlements).items():
            self.units.labels(meter).inc(units)
        self.batch_size.observe(len(settlements))
        for settlement in settlements[::LAG_SAMPLE]:
            self.lag_s.observe(max(0, now_us - settlement.completed_us) / MICROS)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}_total", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"{PREFIX}{name}", meaning, registry=self._registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}{name}", meaning, buckets=bounds, registry=self._registry)


def units_by_meter(settlements: Sequence[Settlement]) -> dict[str, int]:
    """Tokens and seconds have no sum: the units of each meter by themselves."""
    units: dict[str, int] = {}
    for settlement in settlements:
        units[settlement.meter] = units.get(settlement.meter, 0) + settlement.units
    return units
