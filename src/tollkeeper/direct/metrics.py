"""What the direct transport counts, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tollkeeper.direct.server import DirectServer


class DirectCollector(Collector):
    """The calls and connections of one server."""

    def __init__(self, server: DirectServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Everything, at this moment."""
        calls, roll = self._server.calls, self._server.roll
        ended = CounterMetricFamily(
            "tollkeeper_calls_ended", "gRPC calls that ended, by status.", labels=["status"]
        )
        for status, count in calls.ended.items():
            ended.add_metric([status], count)
        yield ended
        yield GaugeMetricFamily(
            "tollkeeper_calls_in_flight", "gRPC calls under way.", calls.in_flight
        )
        yield GaugeMetricFamily("tollkeeper_connections", "Connections of gateways.", len(roll))
        yield CounterMetricFamily(
            "tollkeeper_connections_refused", "Connections above the limit.", roll.refused
        )
        broken = CounterMetricFamily(
            "tollkeeper_connections_broken_off",
            "Connections whose peer broke the protocol, by error.",
            labels=["error"],
        )
        for code, count in roll.broken.items():
            broken.add_metric([code], count)
        yield broken
