"""What a worker counts of its leases; registered once per process by the wiring."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class LeaseMetrics:
    """Names by Prometheus's conventions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.drawn = Counter(
            "tollkeeper_lease_draws_total",
            "Requests that were admitted from a lease, without asking the hot copy.",
            registry=registry,
        )
        self.called_back = Counter(
            "tollkeeper_leases_called_back_total",
            "Leases that were given back because somebody was short of what they held.",
            registry=registry,
        )
        self.faults = Counter(
            "tollkeeper_lease_faults_total",
            "Calls about leases that the hot copy did not answer in time; told again.",
            registry=registry,
        )

    def watch(self, count: Callable[[], int]) -> None:
        """Show what stands now, read at each scrape."""
        Gauge(
            "tollkeeper_leases", "Leases that this worker has.", registry=self._registry
        ).set_function(count)
