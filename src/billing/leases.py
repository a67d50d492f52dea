"""Leases of one worker: admitting from memory what the hot copy set aside for it.

An account that asks often is leased a share (:mod:`billing.lease_calls`), and its requests are
admitted by :meth:`Leases.draw`, which asks nobody. Every admission is in the journal's buffer
before its caller hears of it, as if the hot copy had been asked; ten times a second the hot copy is
told of all of them together, and tops the leases up.

A lease may be drawn from only while it surely stands: until a moment after the last call that found
it, as long as this worker's heartbeat is fresh (:mod:`billing.fence`), and not after somebody began
to build copies anew (:meth:`Leases.suspend`) until a later call has found it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from billing.epoch import EpochKeeper
from billing.errors import Unavailable
from billing.fence import Fence
from billing.journal import Journal
from billing.lease import Lease
from billing.lease_calls import LeaseCall, Leased, Step
from billing.leases_metrics import LeaseMetrics
from billing.rate import US_PER_S
from billing.reservations import Admitted, Hold, JournalRow
from billing.stores.protocol import HotStore

NOT_SOON = 10**9
"""Asks that an account is set back when its lease was closed, or refused: until asks are counted
anew it gets no other one."""


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """``most_requests`` in one lease; 0 leases nothing.

    ``tick_s``: how often leases are looked after. ``tell_s`` and ``tell_draws``: when the hot copy
    is told of what was admitted; what a worker has not told when it dies stays held for the life of
    its requests. ``sure_s``: how long a lease surely stands after a call found it; of an inline
    rate, so much is missing from the burst. ``open_asks`` within ``asks_s`` open a lease, fewer
    than ``keep_draws`` in twice ``tell_s`` close it: below, its calls cost more than they save.
    ``max_leases`` bounds the memory, ``call_leases`` the time of a call (about 30 us for each).
    """

    most_requests: int = 512
    tick_s: float = 0.05
    tell_s: float = 0.1
    tell_draws: int = 8
    sure_s: float = 0.4
    open_asks: int = 8
    asks_s: float = 0.5
    keep_draws: int = 2
    max_leases: int = 4_096
    call_leases: int = 16


class Leases:
    """``clock_s`` never goes back, ``now_s`` is Unix time, ``new_id`` makes the id of a lease."""

    def __init__(
        self,
        *,
        hot: HotStore,
        journal: Journal,
        epoch: EpochKeeper,
        fence: Fence,
        clock_s: Callable[[], float],
        now_s: Callable[[], float],
        new_id: Callable[[], str],
        metrics: LeaseMetrics,
        limits: LeaseLimits | None = None,
    ) -> None:
        self._hot = hot
        self._journal = journal
        self._epoch = epoch
        self._fence = fence
        self._clock_s = clock_s
        self._now_s = now_s
        self._new_id = new_id
        self._metrics = metrics
        self._limits = limits or LeaseLimits()
        self._leases: dict[str, Lease] = {}
        self._asks: dict[str, int] = {}
        self._asks_since_s = 0.0
        self._tending = asyncio.Lock()
        metrics.watch(lambda: len(self._leases))

    def draw(self, hold: Hold, row: JournalRow) -> Admitted | None:
        """Admit a request from a lease; ``None`` when the hot copy has to be asked."""
        lease = self._leases.get(hold.pool)
        if lease is None:
            return None
        now_s = self._clock_s()
        if (
            now_s >= lease.until_s
            or not self._fence.covers(lease.found_s, now_s)
            or not self._journal.has_room
        ):
            return None
        admitted = lease.draw(hold)
        if admitted is not None:
            self._journal.add(row)
        return admitted

    def note(self, hold: Hold) -> None:
        """The hot copy admitted a request: the account that asks often gets a lease."""
        pool = hold.pool
        if not pool or not self._limits.most_requests or pool in self._leases:
            return
        asks = self._asks[pool] = self._asks.get(pool, 0) + 1
        if asks >= self._limits.open_asks and len(self._leases) < self._limits.max_leases:
            self._leases[pool] = Lease(self._new_id(), hold, self._clock_s())

    def suspend(self, account_ids: Iterable[str] | None = None) -> None:
        """Copies are being built anew, of these accounts or of any: draw from no lease of theirs
        until a call that is made from now on has found it."""
        now_s = self._clock_s()
        chosen = None if account_ids is None else set(account_ids)
        for lease in self._leases.values():
            if chosen is None or lease.account_id in chosen:
                lease.suspend(now_s)

    async def give_back(self, account_id: str | None = None) -> None:
        """Close the leases of an account, or all, now; faults are left to :meth:`run`."""
        for lease in self._leases.values():
            if account_id is None or lease.account_id == account_id:
                lease.close()
        await self.tend()

    async def run(self) -> None:
        """Tend for ever."""
        while True:
            await asyncio.sleep(self._limits.tick_s)
            await self.tend()

    async def tend(self) -> None:
        """Tell the hot copy what was admitted from the leases that have something to tell, open and
        close those that are due; what could not be told is told again."""
        self._forget_asks()
        if not self._leases:
            return
        async with self._tending:
            due = self._due()
            while due:
                some, due = due[: self._limits.call_leases], due[self._limits.call_leases :]
                try:
                    await self._call(some)
                except Unavailable:
                    self._metrics.faults.inc()
                    for lease in (*some, *due):
                        lease.close()
                    return
                due += [lease for lease in some if lease.calls_again]

    def _forget_asks(self) -> None:
        now_s = self._clock_s()
        if now_s - self._asks_since_s >= self._limits.asks_s:
            self._asks.clear()
            self._asks_since_s = now_s

    def _due(self) -> list[Lease]:
        limits, now_s = self._limits, self._clock_s()
        told_before_s = now_s - limits.tell_s
        due = []
        for lease in self._leases.values():
            if lease.found_s <= told_before_s:
                lease.judge_use(now_s, 2 * limits.tell_s, limits.keep_draws)
            elif len(lease.draws) < limits.tell_draws and lease.step is Step.KEEP:
                continue
            due.append(lease)
        return due

    async def _call(self, some: list[Lease]) -> None:
        sent_s, now_us = self._clock_s(), int(self._now_s() * US_PER_S)
        calls = [self._next_call(lease, now_us) for lease in some]
        epoch = self._epoch.number
        answers = await self._hot.tend(epoch, calls)
        if epoch != self._epoch.number:  # perhaps they were granted by a copy from an old dump
            raise Unavailable("the epoch was raised during the call")
        for lease, call, answer in zip(some, calls, answers, strict=True):
            self._metrics.drawn.inc(len(call.draws))
            self._take(lease, call, answer, sent_s)

    def _next_call(self, lease: Lease, now_us: int) -> LeaseCall:
        sure_until_us = now_us + int(self._limits.sure_s * US_PER_S)
        return lease.next_call(self._limits.most_requests, now_us, sure_until_us)

    def _take(self, lease: Lease, call: LeaseCall, answer: Leased | None, sent_s: float) -> None:
        lease.told()
        if answer is None or call.step is Step.CLOSE:
            lease.ended = True
            del self._leases[lease.hold.pool]
            self._asks[lease.hold.pool] = -NOT_SOON
            return
        if answer.called_back:
            self._metrics.called_back.inc()
            lease.close()
        lease.grow(call, answer)
        lease.found(sent_s, self._limits.sure_s, answer)
