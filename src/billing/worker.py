"""One worker's part in the common work: heartbeat, journal, barriers, epoch and news of
balances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol

from billing.epoch import EpochKeeper
from billing.errors import StoreUnavailable, TollkeeperError
from billing.fence import Fence
from billing.journal import Journal
from billing.leases import Leases
from billing.news import News
from billing.reservations import publication_of
from billing.stores.protocol import Change, HotStore, TruthStore, WorkerStore

HEARTBEAT_S = 0.5
STOP_TIMEOUT_S = 5.0


class AsksHotStore(Protocol):
    """Whoever has calls to the hot copy under way."""

    async def finish_rounds(self) -> None:
        """Wait until every call that is under way now has been answered and journaled."""


class Worker:
    """Runs what others rely on while this worker serves; ``report`` hears of what goes wrong.

    ``clock`` gives Unix seconds, ``clock_s`` never goes back.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        workers: WorkerStore,
        epoch: EpochKeeper,
        hot: HotStore,
        truth: TruthStore,
        leases: Leases,
        fence: Fence,
        clock: Callable[[], float],
        clock_s: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._workers = workers
        self._epoch = epoch
        self._hot = hot
        self._truth = truth
        self._leases = leases
        self._fence = fence
        self._clock = clock
        self._clock_s = clock_s
        self._report = report
        self._asker: AsksHotStore | None = None

    def serve(self, asker: AsksHotStore) -> None:
        """From now on ``asker`` admits requests, and barriers wait for its calls."""
        self._asker = asker

    async def start(self) -> None:
        """Register, and learn the epoch in force."""
        sent_s = self._clock_s()
        await self._workers.register()
        self._fence.confirm(sent_s)
        await self._epoch.look()

    async def stop(self) -> None:
        """Journal what is left and leave the list; what cannot be written stays held and
        expires."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._leases.give_back()
                await self.flush_own()
                await self._workers.leave()
        except (StoreUnavailable, TimeoutError) as error:
            self._report(f"stopped with {self._journal.depth} reservations not journaled: {error}")

    def jobs(self, news: News) -> Sequence[Coroutine[Any, Any, None]]:
        """What has to run as long as this worker serves."""
        return (
            self._beat(),
            self._journal.run(),
            self._epoch.run(),
            self._hear(news),
            self._leases.run(),
        )

    async def flush_own(self, account_ids: Collection[str] | None = None) -> None:
        """Journal all that this worker admitted before now, and admit no more from leases of these
        accounts, or of any, unless they are found after now."""
        if self._asker is not None:
            await self._asker.finish_rounds()
        self._leases.suspend(account_ids)
        await self._journal.flush()

    async def _beat(self) -> None:
        while True:
            sent_s = self._clock_s()
            try:
                await self._workers.heartbeat()
                self._fence.confirm(sent_s)
            except StoreUnavailable as error:
                self._report(f"no heartbeat: {error}")
            await asyncio.sleep(HEARTBEAT_S)

    async def _hear(self, news: News) -> None:
        async for change in news.changes():
            try:
                await self.answer(change)
            except TollkeeperError as error:
                self._report(f"{change.kind}: {error}")

    async def answer(self, change: Change) -> None:
        """Do what a change asks of this worker."""
        match change.kind:
            case "barrier":
                await self.flush_own()
                await self._workers.flushed(change.detail)
            case "epoch":
                await self._epoch.refresh()
            case "balance" | "account":
                await self._publish(change.account_id)
            case "lost" if change.detail == "back":
                await self._workers.register()
                self._epoch.suspect()

    async def _publish(self, account_id: str) -> None:
        """A top-up, a correction or another overdraft reaches the hot copy."""
        truths = await self._truth.truth([account_id], self._clock())
        await self._hot.publish([publication_of(truth) for truth in truths.values()])
