"""One worker of a role, served directly."""

from __future__ import annotations

import asyncio

import structlog

from tollkeeper.addresses import Address
from tollkeeper.direct.metrics import DirectCollector
from tollkeeper.direct.server import DirectServer
from tollkeeper.logs import set_up_logs
from tollkeeper.running import run_beside, spare_garbage, stop_on_signals
from tollkeeper.settings import Settings, UnaryRole
from tollkeeper.unary.health import PATH as HEALTH_PATH
from tollkeeper.unary.health import health_method
from tollkeeper.unary.roles import ROLES

log = structlog.get_logger("direct")

UNNOTICED_S = 0.4
"""How long the gateway's health checks may take to see that this worker drains: four of them."""


async def serve_direct(settings: Settings, role: UnaryRole, worker: int) -> None:
    """Serve until a signal, then drain."""
    set_up_logs(role)
    stop, loop = stop_on_signals(), asyncio.get_running_loop()
    where = settings.called_address(role, worker)
    async with ROLES[role](settings, worker, stop.is_set) as served:
        health = health_method((served.service,), stop.is_set)
        methods = {**served.methods, HEALTH_PATH: health}
        server = DirectServer(methods, loop, traced=served.traced)
        served.registry.register(DirectCollector(server))
        await _listen(server, where, settings, role)
        spare_garbage()
        log.info("serving", address=str(where))

        async def until_drained() -> None:
            await stop.wait()
            try:
                async with asyncio.timeout(float(settings.drain_deadline_s)):
                    await asyncio.sleep(UNNOTICED_S)
                    await server.drain()
            except TimeoutError:
                log.warning("not drained in time", calls=server.calls.in_flight)

        try:
            await run_beside(until_drained(), (*served.jobs, server.watch()))
        finally:
            server.close()
    log.info("stopped")


async def _listen(
    server: DirectServer, where: Address, settings: Settings, role: UnaryRole
) -> None:
    tls = settings.called_tls(role)
    if tls is None:
        await server.start(where)
        return
    from tollkeeper.http_tls import renewed_context  # noqa: PLC0415 - only who encrypts needs it

    await server.start(where, renewed_context(tls, alpn=("h2",)))
