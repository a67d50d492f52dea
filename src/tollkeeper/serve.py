"""``tollkeeper serve``: one role, or all of them, until SIGTERM or Ctrl-C.

Each role starts, serves, drains and stops. It listens for its own protocol on one address and shows
metrics and health on another.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from billing.errors import ConfigError
from billing.offered import Offered
from extauthz.server import AuthorizationServer
from ratelimit.service import RateLimitTls
from ratelimit.service import serve as serve_rules
from ratelimit.settings_values import RateLimitSettings
from tollkeeper.catalog_watch import CatalogWatch
from tollkeeper.config import load_config
from tollkeeper.hosted.serving import host_parts, serve_all, serve_workers
from tollkeeper.logs import set_up_logs
from tollkeeper.pages import pages, serve_http
from tollkeeper.running import run, run_beside, spare_garbage, stop_on_signals, take_longer_turns
from tollkeeper.settings import Settings, load_settings
from tollkeeper.wiring.accesslog import WatchLedger, open_back_door
from tollkeeper.wiring.authz import open_front_door
from tollkeeper.wiring.ratelimit import ratelimit_settings, ratelimit_tls
from tollkeeper.wiring.tls import server_credentials

if TYPE_CHECKING:
    from tollkeeper.tracing import Tracing

log = structlog.get_logger("serve")


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


def _watched(tracing: Tracing | None) -> WatchLedger | None:
    return None if tracing is None else tracing.ledger


async def serve_authz(settings: Settings, worker: int = 0) -> None:
    """One worker of the front door, on the addresses of its number."""
    set_up_logs("authz")
    stop, registry = stop_on_signals(), new_registry()
    watch = CatalogWatch(settings, registry, with_credentials=True)
    address = settings.authz_addresses[worker]
    async with (
        traced(settings, "authz", worker) as tracing,
        open_front_door(settings, watch.catalog, registry) as front,
    ):
        credentials = server_credentials(settings.authz_tls)
        interceptors = () if tracing is None else (tracing.checks(),)
        server = AuthorizationServer(front.handler, front.limits, credentials, interceptors)
        await server.start(str(address))
        spare_garbage()
        log.info("serving", address=str(address))
        metrics = settings.authz_metrics_addresses[worker]
        shown = pages(registry, {"config": watch.readiness})
        page_jobs = serve_http(shown, metrics, settings.metrics_tls)

        async def until_drained() -> None:
            await stop.wait()
            await server.drain(float(settings.drain_deadline_s))

        await run_beside(until_drained(), (*front.jobs, watch.run(front.door.offer), page_jobs))
    log.info("stopped")


async def serve_accesslog(settings: Settings) -> None:
    """The back door: sink, settler, expiry."""
    set_up_logs("accesslog")
    stop, registry = stop_on_signals(), new_registry()
    watch = CatalogWatch(settings, registry, with_credentials=False)
    offered = Offered(watch.catalog, time.monotonic)
    async with (
        traced(settings, "accesslog") as tracing,
        open_back_door(settings, offered, registry, _watched(tracing)) as door,
    ):
        await door.service.start(str(settings.accesslog_listen))
        spare_garbage()
        log.info("serving", address=str(settings.accesslog_listen))
        shown = pages(registry, {"config": watch.readiness})
        page_jobs = serve_http(shown, settings.accesslog_metrics_listen, settings.metrics_tls)
        await run_beside(
            door.service.serve(stop), (watch.run(offered.offer), door.sweep.run(), page_jobs)
        )
    log.info("stopped")


async def serve_management(settings: Settings) -> None:
    """The management API and self-service, with health and metrics on the same address."""
    from tollkeeper.admin.serving import serve_admin  # noqa: PLC0415 - the doors need no web API

    set_up_logs("admin")
    await serve_admin(settings, stop_on_signals(), new_registry(), settings.gateway_secret_text)
    log.info("stopped")


async def serve_ratelimit(
    rules: Path, own: RateLimitSettings, tls: RateLimitTls | None = None
) -> None:
    """The rate-limit service; needs nothing else of Tollkeeper."""
    set_up_logs("ratelimit")
    await serve_rules(own, rules, stop=stop_on_signals(), registry=new_registry(), tls=tls)


def serve(role: str, settings: Settings, worker: int | None = None) -> None:
    """Run one role until it is told to stop; of authorization all workers, or the one named."""
    if settings.scheduling == "batch":
        take_longer_turns()
    match role:
        case "authz":
            workers = range(settings.authz_workers) if worker is None else (worker,)
            parts = host_parts(settings.authz_transport)
            if parts is None and len(workers) == 1:
                run(serve_authz(settings, workers[0]))
            else:
                run(serve_workers(settings, parts, "authz", workers))
        case "accesslog":
            run(serve_accesslog(settings))
        case "admin":
            run(serve_management(settings))
        case "ratelimit":
            parts = host_parts(settings.ratelimit_transport)
            if parts is None:
                config = load_config(settings.config_file, settings)
                rules, tls = config.ratelimit.directory, ratelimit_tls(settings)
                run(serve_ratelimit(rules, ratelimit_settings(settings), tls))
            else:
                run(serve_workers(settings, parts, "ratelimit", (0,)))
        case "all":
            run(serve_all(settings))
        case _:
            raise ConfigError(f"no role {role!r}; authz, ratelimit, accesslog, admin or all")


if __name__ == "__main__":
    import sys

    serve(sys.argv[1], load_settings(), int(sys.argv[2]) if len(sys.argv) > 2 else None)
