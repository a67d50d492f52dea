"""``tollkeeper serve``: one role, or all of them, until SIGTERM or Ctrl-C.

Each role starts, serves, drains and stops. It listens for its own protocol on one address and shows
metrics and health on another.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from billing.errors import ConfigError
from billing.offered import Offered
from extauthz.server import AuthorizationServer
from ratelimit.service import RateLimitTls
from ratelimit.service import serve as serve_rules
from ratelimit.settings_values import RateLimitSettings
from tollkeeper.catalog_watch import CatalogWatch
from tollkeeper.config import load_config
from tollkeeper.direct.serving import serve_direct
from tollkeeper.logs import set_up_logs
from tollkeeper.pages import pages, serve_http
from tollkeeper.running import run, run_beside, spare_garbage, stop_on_signals, take_longer_turns
from tollkeeper.settings import Settings, UnaryRole, load_settings
from tollkeeper.telemetry import new_registry, traced
from tollkeeper.wiring.accesslog import WatchLedger, open_back_door
from tollkeeper.wiring.authz import open_front_door
from tollkeeper.wiring.ratelimit import ratelimit_settings, ratelimit_tls
from tollkeeper.wiring.tls import server_credentials
from tollkeeper.workers.serving import serve_all, serve_workers, transport_of

if TYPE_CHECKING:
    from tollkeeper.tracing import Tracing

log = structlog.get_logger("serve")


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
            run(_serve_called(settings, "authz", workers))
        case "ratelimit":
            run(_serve_called(settings, "ratelimit", (0,)))
        case "accesslog":
            run(serve_accesslog(settings))
        case "admin":
            run(serve_management(settings))
        case "all":
            run(serve_all(settings))
        case _:
            raise ConfigError(f"no role {role!r}; authz, ratelimit, accesslog, admin or all")


def _serve_called(
    settings: Settings, role: UnaryRole, workers: Sequence[int]
) -> Coroutine[Any, Any, None]:
    """A role of unary methods, by its transport; several workers, and an Envoy, are children."""
    transport = transport_of(settings, role)
    if transport == "hosted" or len(workers) > 1:
        return serve_workers(settings, role, workers)
    if transport == "direct":
        return serve_direct(settings, role, workers[0])
    if role == "authz":
        return serve_authz(settings, workers[0])
    rules = load_config(settings.config_file, settings).ratelimit.directory
    return serve_ratelimit(rules, ratelimit_settings(settings), ratelimit_tls(settings))


if __name__ == "__main__":
    import sys

    serve(sys.argv[1], load_settings(), int(sys.argv[2]) if len(sys.argv) > 2 else None)
