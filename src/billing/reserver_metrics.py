"""What the reserver counts; registered once per process by the wiring."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class ReserverMetrics:
    """Names by Prometheus's conventions; the label ``posture`` has three values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.batch_size = Histogram(
            "tollkeeper_reserve_batch_size",
            "Requests that shared one call to the hot copy.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.faults = Counter(
            "tollkeeper_reserve_faults_total",
            "Calls to the hot copy that were not answered in time.",
            registry=registry,
        )
        self.copies_built = Counter(
            "tollkeeper_copies_built_total",
            "Accounts whose copy was absent and was built from Postgres.",
            registry=registry,
        )
        self.without_hot_copy = Counter(
            "tollkeeper_reserve_without_hot_copy_total",
            "Requests decided by a route's posture because the hot copy did not answer.",
            ["posture"],
            registry=registry,
        )

    def watch(
        self,
        *,
        journal_rows: Callable[[], int],
        epoch: Callable[[], int],
        breaker_open: Callable[[], bool],
    ) -> None:
        """Show what stands now, read at each scrape."""
        gauges = {
            "tollkeeper_journal_rows": ("Admitted reservations not in Postgres yet.", journal_rows),
            "tollkeeper_hot_epoch": ("Epoch of the hot copy that this worker knows.", epoch),
            "tollkeeper_reserve_breaker_open": (
                "1 while calls to the hot copy fail at once.",
                breaker_open,
            ),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self._registry).set_function(read)
