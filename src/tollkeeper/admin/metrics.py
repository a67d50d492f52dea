"""What the API counts: requests by route, method and status, and how long they took.

The label ``route`` is the template of the path, never the path: the number of series is bounded.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNKNOWN = "unknown"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AdminMetrics:
    """Metrics of the management API."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "tollkeeper_admin_requests_total",
            "Requests of the management API and of self-service.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "tollkeeper_admin_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ["route"],
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
        )


class Metered:
    """Counts every request with the status that it was answered with."""

    def __init__(self, app: ASGIApp, metrics: AdminMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def heard(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began_s = time.perf_counter()
        try:
            await self._app(scope, receive, heard)
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN)
            method = scope["method"] if scope["method"] in METHODS else UNKNOWN
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began_s)
