"""Reserving credits: all checks that wait share one round trip to the hot copy.

``reserve`` is the story: ask the hot copy; build the copy where it is absent; where the hot copy
does not answer, do what the route's posture says. Every admitted reservation is in the journal's
buffer before its caller hears of it, and the journal is flushed before any copy is built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from billing.allowance import Allowance
from billing.breaker import Breaker
from billing.catalog import Posture
from billing.copier import Copier
from billing.epoch import EpochKeeper
from billing.errors import StoreUnavailable, TollkeeperError, Unavailable
from billing.journal import Journal
from billing.leases import Leases
from billing.reservations import Admission, Admitted, Hold, JournalRow, Short, Undecided
from billing.reserver_metrics import ReserverMetrics
from billing.stores.protocol import Absent, HotStore

Answer = Admitted | Short | Absent
SUSPECT_TRIES = 25


@dataclass(frozen=True, slots=True)
class ReserverLimits:
    """``max_batch``: requests per call, where a call still takes about a millisecond.

    ``max_rounds``: calls under way at once; two keep Redis busy while answers are read.
    ``load_deadline_s``: how long a request waits for its account's copy to be built.
    ``retry_s``: pause before asking again when another worker builds the copy, ``leased_retry_s``
    when others hold in leases what is short.
    ``unclear_s``: life of a reservation of which nobody knows whether it was made.
    """

    max_batch: int = 128
    max_rounds: int = 2
    load_deadline_s: float = 5.0
    retry_s: float = 0.004
    leased_retry_s: float = 0.02
    unclear_s: int = 5


class Reserver:
    """Admits requests against the hot copy for one worker."""

    def __init__(
        self,
        *,
        hot: HotStore,
        copier: Copier,
        journal: Journal,
        epoch: EpochKeeper,
        allowance: Allowance,
        breaker: Breaker,
        leases: Leases,
        clock: Callable[[], float],
        metrics: ReserverMetrics,
        limits: ReserverLimits | None = None,
    ) -> None:
        self._hot = hot
        self._copier = copier
        self._journal = journal
        self._epoch = epoch
        self._allowance = allowance
        self._breaker = breaker
        self._leases = leases
        self.draw = leases.draw
        self._clock = clock
        self._metrics = metrics
        self._limits = limits or ReserverLimits()
        self._waiting: list[tuple[Hold, JournalRow, asyncio.Future[Answer]]] = []
        self._rounds: set[asyncio.Task[None]] = set()
        self._active = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[asyncio.Future[None]] = set()

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
        """Hold all budgets of a request, or none: a value in any case, never an exception."""
        if not self._journal.has_room:
            return Undecided("journal_full")
        asked = self._ask(hold, row)
        try:
            answer = await asked
            if isinstance(answer, Absent):
                answer = await self._ask_with_copy(hold, row, answer)
            if isinstance(answer, Short) and answer.leased:
                answer = await self._ask_with_leases_back(hold, row, answer)
        except asyncio.CancelledError:
            self._leave(asked, row)
            raise
        except StoreUnavailable as error:
            self._epoch.suspect()
            decided = self._without_hot_copy(hold, row, posture, error)
            if not isinstance(decided, Admitted):
                self._note_unclear(row)
            return decided
        except (Unavailable, TimeoutError) as error:
            return self._without_hot_copy(hold, row, posture, error)
        except TollkeeperError as error:
            return Undecided(str(error))
        return answer

    def let_go(self, account_id: str, reservation_id: str) -> None:
        """The caller of an admitted request left before it heard of it: its hold ends soon."""
        self._journal.abandon(account_id, reservation_id, int(self._clock()))

    async def _ask_with_copy(self, hold: Hold, row: JournalRow, absent: Absent) -> Admitted | Short:
        answer: Answer = absent
        tries = 0
        async with asyncio.timeout(self._limits.load_deadline_s):
            while isinstance(answer, Absent):
                tries += 1
                if answer.mine:
                    self._metrics.copies_built.inc()
                    await self._copier.copy(self._epoch.number, hold.account_id, answer.token)
                else:
                    await asyncio.sleep(self._limits.retry_s)
                if tries % SUSPECT_TRIES == 0:
                    self._epoch.suspect()  # perhaps the others are an epoch ahead
                asked = self._ask(hold, row)
                try:
                    answer = await asked
                except asyncio.CancelledError:
                    self._leave(asked, row)
                    raise
        return answer

    async def _ask_with_leases_back(
        self, hold: Hold, row: JournalRow, short: Short
    ) -> Admitted | Short:
        """What is short is in leases, perhaps: ours go back at once, those of others within the
        time in which the hot copy says so."""
        await self._leases.give_back(hold.account_id)
        answer: Admitted | Short = short
        while isinstance(answer, Short) and answer.leased:
            answer = await self._ask_with_copy(hold, row, Absent(mine=False, token=""))
            if isinstance(answer, Short) and answer.leased:
                await asyncio.sleep(self._limits.leased_retry_s)
        return answer

    def _leave(self, asked: asyncio.Future[Answer], row: JournalRow) -> None:
        """A caller that leaves between the answer and its own turn lets go."""
        answered = asked.done() and not asked.cancelled() and asked.exception() is None
        if answered and isinstance(asked.result(), Admitted):
            self.let_go(row.account_id, row.reservation_id)

    def _ask(self, hold: Hold, row: JournalRow) -> asyncio.Future[Answer]:
        """Join the next call to the hot copy."""
        loop = self._loop
        if loop is None:  # asked for once: it is a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((hold, row, future))
        if self._active < self._limits.max_rounds:
            self._active += 1
            task = asyncio.create_task(self._round(), name="reserver round")
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)
        return future

    async def _round(self) -> None:
        """Ask until nobody waits; whoever comes after that starts the next round."""
        try:
            while self._waiting:
                await self._ask_batch()
        finally:
            self._active -= 1

    async def _ask_batch(self) -> None:
        batch = self._waiting[: self._limits.max_batch]
        del self._waiting[: self._limits.max_batch]
        under_way: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(under_way)
        try:
            answers = await self._admit([hold for hold, _, _ in batch])
            for (hold, row, future), answer in zip(batch, answers, strict=True):
                self._take(hold, row, future, answer)
        except TollkeeperError as error:
            self._fail(batch, error)
        except BaseException as error:
            self._fail(batch, Unavailable(f"a fault of ours: {error!r}"))
            raise  # the event loop's handler reports it, with its traceback
        finally:
            self._under_way.discard(under_way)
            under_way.set_result(None)

    async def _admit(self, holds: list[Hold]) -> list[Answer]:
        if not self._breaker.lets_pass():
            raise Unavailable("the hot copy is away")
        try:
            await self._return_to_hot_copy()
            answers = await self._admit_in_this_epoch(holds)
        except Unavailable:
            self._breaker.failed()
            self._metrics.faults.inc()
            raise
        self._breaker.succeeded()
        self._metrics.batch_size.observe(len(holds))
        return answers

    async def _admit_in_this_epoch(self, holds: list[Hold]) -> list[Answer]:
        """A call that was under way when the epoch rose may have come to a copy of the old one, or
        even from an old dump: what it says is void, and is asked anew."""
        while True:
            epoch = self._epoch.number
            answers = list(await self._hot.admit(epoch, holds))
            if epoch == self._epoch.number:
                return answers

    async def _return_to_hot_copy(self) -> None:
        """What was admitted without the hot copy must count: those copies are built anew."""
        owing = self._allowance.admitted_from()
        if owing:
            await self._hot.drop(owing)
            self._allowance.forget(owing)

    def _take(
        self, hold: Hold, row: JournalRow, future: asyncio.Future[Answer], answer: Answer
    ) -> None:
        if isinstance(answer, Admitted):
            # A caller that went away meanwhile will never run: its hold ends with the next expiry.
            gone = future.done()
            self._journal.add(_never_run(row, int(self._clock())) if gone else row)
            self._leases.note(hold)
            self._allowance.saw(hold.account_id, answer.available_nanos)
        if not future.done():
            future.set_result(answer)

    def _fail(
        self,
        batch: list[tuple[Hold, JournalRow, asyncio.Future[Answer]]],
        error: TollkeeperError,
    ) -> None:
        for _, row, future in batch:
            if future.done():
                self._note_unclear(row)
            else:
                future.set_exception(error)

    def _note_unclear(self, row: JournalRow) -> None:
        """Nobody knows whether this was held, and it will not run: journaled, it ends soon."""
        soon = int(self._clock()) + self._limits.unclear_s
        if self._journal.has_room:
            self._journal.add(_never_run(row, soon))

    def _without_hot_copy(
        self, hold: Hold, row: JournalRow, posture: Posture, error: Exception
    ) -> Admission:
        self._metrics.without_hot_copy.labels(posture).inc()
        if posture == "closed":
            return Undecided(f"the hot copy does not answer: {error}")
        if posture == "open":
            self._allowance.note(hold)
            self._journal.add(row)
            return Admitted(0, local=True)
        answer = self._allowance.take(hold)
        if isinstance(answer, Admitted):
            self._journal.add(row)
        return answer

    async def finish_rounds(self) -> None:
        """Wait until every call that is under way now has been answered and journaled."""
        under_way = set(self._under_way)
        if under_way:
            await asyncio.wait(under_way)


def _never_run(row: JournalRow, expires_s: int) -> JournalRow:
    """The row of a request that does not run: it ends soon, and no policy may charge its quote."""
    return row._replace(expires_s=expires_s, quoted_nanos=0)
