"""What every process has to show of itself: metrics always, traces where they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tollkeeper.settings import Settings

if TYPE_CHECKING:
    from tollkeeper.tracing import Tracing


def new_registry() -> CollectorRegistry:
    """Metrics of one process, its own state and version included."""
    registry = CollectorRegistry()
    Info("tollkeeper_build", "What runs here.", registry=registry).info(
        {"version": version("tollkeeper")}
    )
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@asynccontextmanager
async def traced(settings: Settings, role: str, worker: int = 0) -> AsyncIterator[Tracing | None]:
    """The traces of a process, where they are asked for; OpenTelemetry is not loaded without."""
    if settings.otlp_endpoint is None:
        yield None
        return
    from tollkeeper.tracing import export_to  # noqa: PLC0415 - it takes half a second to load

    tracing = export_to(settings, role, worker)
    try:
        yield tracing
    finally:
        await tracing.close()
