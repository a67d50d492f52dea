"""Building absent copies: barrier, one snapshot of Postgres, load; many accounts per round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from billing.errors import NotFound, StoreUnavailable, TollkeeperError
from billing.stores.protocol import HotStore, TruthStore, WorkerStore

MAX_ACCOUNTS = 500
"""Accounts per round: a snapshot of so many takes a few milliseconds."""
MAX_ROUNDS = 2
"""At once, so that who comes during a round need not wait for its end."""
BARRIER_TIMEOUT_S = 6.0
"""Longer than the wait for a stopped worker (``postgres_workers.STOPPED``)."""


class Copier:
    """``flush_own`` makes this worker's own journal complete, with nothing admitted from leases of
    those accounts after it; ``clock`` gives Unix seconds."""

    def __init__(
        self,
        hot: HotStore,
        truth: TruthStore,
        workers: WorkerStore,
        flush_own: Callable[[Collection[str]], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._hot = hot
        self._truth = truth
        self._workers = workers
        self._flush_own = flush_own
        self._clock = clock
        self._waiting: dict[str, tuple[str, asyncio.Future[None]]] = {}
        self._rounds: set[asyncio.Task[None]] = set()
        self._active = 0

    async def copy(self, epoch: int, account_id: str, token: str) -> None:
        """Build the copy of an account under the token that ``Absent`` gave.

        Returns when it was tried; the right may have been lost meanwhile, then the caller asks
        anew.
        Raises ``NotFound`` for an account that the ledger does not have.
        """
        known = self._waiting.get(account_id)
        if known is None:
            known = (token, asyncio.get_running_loop().create_future())
            self._waiting[account_id] = known
        if self._active < MAX_ROUNDS:
            self._active += 1
            task = asyncio.create_task(self._run(epoch), name="copier")
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)
        await asyncio.shield(known[1])

    async def _run(self, epoch: int) -> None:
        """Build until nobody waits; whoever comes after that begins the next run."""
        try:
            while self._waiting:
                await self._build(epoch)
        finally:
            self._active -= 1

    async def _build(self, epoch: int) -> None:
        taken = dict(list(self._waiting.items())[:MAX_ACCOUNTS])
        for account_id in taken:
            del self._waiting[account_id]
        try:
            await self._round(epoch, {a: token for a, (token, _) in taken.items()})
        except TollkeeperError as error:
            _end(taken, error)
        except TimeoutError as error:
            _end(taken, StoreUnavailable(f"barrier: {error}"))
        else:
            _end(taken, None)

    async def _round(self, epoch: int, tokens: dict[str, str]) -> None:
        both = (self._flush_own(tokens), self._workers.barrier(BARRIER_TIMEOUT_S))
        for done in await asyncio.gather(*both, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
        truths = await self._truth.truth(list(tokens), self._clock())
        if not truths:
            raise NotFound(f"no such account: {', '.join(list(tokens)[:3])}")
        await self._hot.load(epoch, [(tokens[a], truth) for a, truth in truths.items()])


def _end(taken: dict[str, tuple[str, asyncio.Future[None]]], error: TollkeeperError | None) -> None:
    for _, future in taken.values():
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # whoever waited hears it; nobody waiting is no fault
