"""The ASGI application that pyvoy runs: ``tollkeeper.hosted.app:app``.

Its lifespan is that of the worker. At its startup the core is built on the event loop that answers
the calls; at its shutdown, which follows SIGTERM, the core is closed and its journal flushed.
Envoy stops taking requests before that, so whoever wants calls to be finished drains first, over
the control line (:mod:`tollkeeper.hosted.control`).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog

from tollkeeper.hosted.calls import Calls, Scope, Send
from tollkeeper.hosted.control import DRAIN, DRAINED, READY, ControlLine
from tollkeeper.hosted.patience import Receive
from tollkeeper.hosted.traced_calls import TracedCalls
from tollkeeper.logs import set_up_logs
from tollkeeper.running import run_beside, spare_garbage
from tollkeeper.settings import UnaryRole, load_hosting, load_settings
from tollkeeper.unary.health import PATH as HEALTH_PATH
from tollkeeper.unary.health import health_method
from tollkeeper.unary.roles import ROLES, OpenRole

log = structlog.get_logger("hosted")

UNNOTICED_S = 0.4
"""How long Envoy's health checks may take to see that this worker drains: four of them."""
IDLE_POLL_S = 0.02


class HostedApplication:
    """Answers calls while it lives, and lives from startup to shutdown."""

    _asgi_single_callable = True  # spares pyvoy its guess

    def __init__(self, roles: Mapping[UnaryRole, OpenRole]) -> None:
        self._roles = roles
        self._calls: Calls | None = None
        self._draining = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        # No coroutine of its own: each one around a call costs it half a microsecond.
        if scope["type"] == "http":
            assert self._calls is not None, "no calls come before startup is complete"
            return self._calls.answer(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        raise NotImplementedError(f"no {scope['type']} here")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        started = asyncio.Event()
        try:
            await self._serve(receive, send, started)
        except Exception as error:
            if not started.is_set():
                log.exception("not started", error=str(error))
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            log.exception("a job of this worker died")
            os.kill(os.getpid(), signal.SIGTERM)
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, receive: Receive, send: Send, started: asyncio.Event) -> None:
        hosting = load_hosting()
        set_up_logs(hosting.role)
        settings = load_settings()
        line = ControlLine.inherited(hosting.control_fd)
        open_role = self._roles[hosting.role]
        async with open_role(settings, hosting.worker, lambda: self._draining) as served:
            health = health_method((served.service,), lambda: self._draining)
            loop = asyncio.get_running_loop()
            kind = TracedCalls if served.traced else Calls
            calls = self._calls = kind({**served.methods, HEALTH_PATH: health}, loop)
            await send({"type": "lifespan.startup.complete"})
            started.set()
            await line.say(READY)
            spare_garbage()
            obeying = self._obey(line, calls, float(settings.drain_deadline_s))
            await run_beside(_until_shutdown(receive), (*served.jobs, obeying))
        log.info("stopped")

    async def _obey(self, line: ControlLine, calls: Calls, deadline_s: float) -> None:
        """Drain when told, or when the supervisor has died."""
        word = await line.hear()
        self._draining = True
        try:
            async with asyncio.timeout(deadline_s):
                await _drain(calls)
        except TimeoutError:
            log.warning("not drained in time", calls=calls.in_flight)
        await line.say(DRAINED)
        if word != DRAIN:
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()  # the end comes by SIGTERM


async def _drain(calls: Calls) -> None:
    """Calls go on being answered until Envoy has noticed, and those in hand to their end."""
    await asyncio.sleep(UNNOTICED_S)
    while calls.in_flight > 0:
        await asyncio.sleep(IDLE_POLL_S)


async def _until_shutdown(receive: Receive) -> None:
    event: dict[str, Any] = await receive()
    assert event["type"] == "lifespan.shutdown", "nothing else comes after startup"


app = HostedApplication(ROLES)
