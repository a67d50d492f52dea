"""The back door as one thing: start, serve, drain, stop.

Its parts run as tasks of one owner. When one of them dies the others are stopped and the fault
rises, so that whoever runs the role hears of it; entries not yet settled stay in the spool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accesslog.adopt import Adopter
from accesslog.expire import Expirer
from accesslog.notices import Notices
from accesslog.publish import Publisher
from accesslog.pump import Pump
from accesslog.server import AccessLogServer
from accesslog.settings import AccessLogSettings
from accesslog.spool import Spool
from billing.fullness import FullnessTeller

LAST_WORD_S = 1.0
"""How long an end waits for the ledger to note what the hot copy was told."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the wiring built."""

    spool: Spool
    server: AccessLogServer
    pump: Pump
    publisher: Publisher
    expirer: Expirer
    adopter: Adopter | None = None
    teller: FullnessTeller | None = None


class AccessLogService:
    """Runs the parts. ``now_s`` is a clock that never goes back."""

    def __init__(
        self,
        parts: Parts,
        settings: AccessLogSettings,
        notices: Notices,
        now_s: Callable[[], float],
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._notices = notices
        self._now_s = now_s

    async def start(self, address: str) -> int:
        """Bind and take entries; they are settled once :meth:`serve` runs. Returns the port."""
        return await self._parts.server.start(address)

    async def serve(self, stop: asyncio.Event) -> None:
        """Settle until ``stop`` is set, then drain; raises what killed one of the parts."""
        parts = self._parts
        pumping = asyncio.create_task(parts.pump.run(), name="pump")
        beside = [
            asyncio.create_task(parts.server.watch(), name="health"),
            asyncio.create_task(parts.expirer.run(), name="expire"),
            asyncio.create_task(self._keep_promises(), name="promises"),
        ]
        if parts.adopter is not None:
            beside.append(asyncio.create_task(parts.adopter.run(), name="adopt"))
        if parts.teller is not None:
            beside.append(asyncio.create_task(parts.teller.run(), name="fullness"))
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait((stopping, pumping, *beside), return_when=asyncio.FIRST_COMPLETED)
            await self._drain(pumping)
        finally:
            await _end((stopping, pumping, *beside))
            parts.spool.close()
        for task in (pumping, *beside):
            if not task.cancelled():
                task.result()

    async def _keep_promises(self) -> None:
        while True:
            await self._parts.publisher.keep_promises()
            await asyncio.sleep(self._settings.publish.interval_s)

    async def _drain(self, pumping: asyncio.Task[None]) -> None:
        """Take no more, settle what is in hand; the rest stays in the spool for the next start."""
        deadline_s = self._now_s() + self._settings.drain_s
        await self._parts.server.drain(self._settings.drain_s)
        self._parts.pump.drain()
        await asyncio.wait((pumping,), timeout=max(0.0, deadline_s - self._now_s()))
        await self._last_word()
        left = self._parts.spool.records
        if left:
            self._notices.tell("drained", f"{left} records stay in the spool for the next start")

    async def _last_word(self) -> None:
        """Strike out what was told; another settler tells the rest."""
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self._parts.publisher.keep_promises()
        except TimeoutError:
            self._notices.tell("promises_postponed", "no answer before the end")


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
