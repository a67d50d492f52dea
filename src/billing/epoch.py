"""The epoch of the hot copy: when all copies are void at once.

Copies are void when Redis is another process than the one they were built in (it may have read an
old dump), and when Redis has heard of a batch that Postgres does not know (Postgres was restored
from a backup). Whoever sees it first raises the epoch in Postgres; copies of older epochs count as
absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from billing.errors import StoreUnavailable
from billing.stores.protocol import Epoch, WorkerStore


class HotServer(Protocol):
    """The running Redis, apart from what it holds of accounts."""

    def expect(self, identity: str) -> None:
        """From now on only this Redis may decide."""

    async def identity(self) -> str:
        """Which running Redis answers now."""

    async def told_batch(self) -> int:
        """The newest batch of the ledger that Redis was told of; 0 when it was told of none."""

    async def tell_batch(self, batch_id: int) -> None:
        """Say up to which batch the ledger goes."""


@dataclass(frozen=True, slots=True)
class EpochLimits:
    """``watch_s``: how often the identity is looked at besides at each connection."""

    watch_s: float = 1.0


class EpochKeeper:
    """Keeps ``number`` equal to the epoch in force; ``report`` hears why it was raised."""

    def __init__(
        self,
        workers: WorkerStore,
        server: HotServer,
        report: Callable[[str], None],
        limits: EpochLimits | None = None,
    ) -> None:
        self._workers = workers
        self._server = server
        self._report = report
        self._limits = limits or EpochLimits()
        self._epoch = Epoch(0, "")
        self._wake = asyncio.Event()

    @property
    def number(self) -> int:
        """The epoch in force, as far as this worker knows."""
        return self._epoch.number

    def suspect(self) -> None:
        """Something looked wrong: look again now."""
        self._wake.set()

    async def refresh(self) -> None:
        """Take over the epoch of Postgres."""
        self._take(await self._workers.epoch())

    async def look(self) -> None:
        """Compare Redis with what the epoch says; raise the epoch where they differ."""
        await self.refresh()
        found = await self._server.identity()
        if found != self._epoch.identity:
            await self._raise(found, "another Redis" if self._epoch.identity else "first Redis")
        told, known = await self._server.told_batch(), await self._workers.chain_end()
        if told > known:
            await self._raise(found, f"Redis knows batch {told}, Postgres only {known}")
        if told != known:
            await self._server.tell_batch(known)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._try(self.look)
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), self._limits.watch_s)
            except TimeoutError:
                continue

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except StoreUnavailable as error:
            self._report(f"cannot compare Redis with Postgres: {error}")

    async def _raise(self, identity: str, reason: str) -> None:
        self._take(await self._workers.raise_epoch(self._epoch, identity, reason))
        self._report(f"epoch {self._epoch.number}: {reason}")

    def _take(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self._server.expect(epoch.identity)
