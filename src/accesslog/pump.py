"""From the spool to the settler, batch by batch: the next is judged while the last commits."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

from accesslog.judge import Judge, Judged
from accesslog.records import NoRecord, decode
from accesslog.segments import Position
from accesslog.settings import SettleSettings
from accesslog.settle import Settler
from accesslog.spool import Spool
from accesslog.values import Entry
from billing.stores.protocol import QuarantineRow

TAKE_BYTES = 256 * 1024
"""How much is taken from the spool at a time: about 500 entries."""


@dataclass(slots=True)
class _Batch:
    """Entries on their way to one transaction, and up to where the spool may let go then."""

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[QuarantineRow] = field(default_factory=list)
    end: Position | None = None

    def add(self, payload: bytes, end: Position) -> None:
        self.end = end
        try:
            found = decode(payload)
        except NoRecord:
            self.unreadable.append(_kept("unreadable_record", payload))
            return
        if isinstance(found, bytes):
            self.unreadable.append(_kept("unreadable_message", found))
        else:
            self.entries += found


def _kept(reason: str, data: bytes) -> QuarantineRow:
    return QuarantineRow(None, None, reason, b64encode(data).decode())


class Pump:
    """Runs until it is cancelled, or drained and the spool is empty.

    ``now_s`` is a clock that never goes back.
    """

    def __init__(
        self,
        spool: Spool,
        judge: Judge,
        settler: Settler,
        settings: SettleSettings,
        now_s: Callable[[], float],
    ) -> None:
        self._spool = spool
        self._judge = judge
        self._settler = settler
        self._settings = settings
        self._now_s = now_s
        self._draining = False

    def drain(self) -> None:
        """Settle what is in the spool and then end."""
        self._draining = True
        self._spool.wake()

    async def run(self) -> None:
        """Settle; what was taken and not committed is taken again when this is run anew."""
        self._spool.restore()
        judged: asyncio.Queue[tuple[Judged, Position] | None] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._judge_all(judged), name="judge")
            both.create_task(self._commit_all(judged), name="commit")

    async def _judge_all(self, judged: asyncio.Queue[tuple[Judged, Position] | None]) -> None:
        while (batch := await self._next()) is not None:
            assert batch.end is not None, "a batch was taken from somewhere"
            found = self._judge.judge(batch.entries)
            found.quarantine += batch.unreadable
            await judged.put((found, batch.end))
        await judged.put(None)

    async def _commit_all(self, judged: asyncio.Queue[tuple[Judged, Position] | None]) -> None:
        while (batch := await judged.get()) is not None:
            found, end = batch
            await self._settler.settle(found)
            self._spool.acknowledge(end)

    async def _next(self) -> _Batch | None:
        """The next batch: full, or as old as a batch may get; ``None`` when drained."""
        batch = _Batch()
        until_s: float | None = None
        while len(batch.entries) < self._settings.batch_entries:
            for record in self._spool.take(TAKE_BYTES):
                batch.add(record.payload, record.end)
            if batch.end is not None and until_s is None:
                until_s = self._now_s() + self._settings.batch_wait_s
            if self._spool.is_drained and (self._draining or not await self._more(until_s)):
                break
        return batch if batch.end is not None else None

    async def _more(self, until_s: float | None) -> bool:
        """Wait for records; False when a batch is old enough to go without them."""
        if until_s is None:
            await self._spool.wait_readable()
            return True
        try:
            async with asyncio.timeout(max(0.0, until_s - self._now_s())):
                await self._spool.wait_readable()
        except TimeoutError:
            return False
        return True
