"""What the reserver counts; registered once per process by the wiring."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


class ReserverMetrics:
    """Names by Prometheus's conventions; the label ``posture`` has three values."""

    def __init__(self, registry: CollectorRegistry) -> None:
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
