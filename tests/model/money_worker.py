"""A worker of the front door in the model of money: its real journal, leases, fence and epoch, on
clocks that stand still, with a line to the hot copy that loses calls and replies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry

from billing.epoch import EpochKeeper
from billing.errors import StoreUnavailable
from billing.fence import Fence
from billing.journal import Journal
from billing.lease_calls import LeaseCall, Leased, Step
from billing.leases import LeaseLimits, Leases
from billing.leases_metrics import LeaseMetrics
from billing.reservations import Admitted, Hold, JournalRow, Publication, Short, Truth
from billing.stores.memory_workers import MemoryOffice, MemoryWorkers
from billing.stores.postgres_workers import FRESH
from billing.stores.protocol import Absent, Change, HotStore, TruthStore
from billing.worker import Worker
from tests.contract.ledger_bench import JournalStore
from tests.unit.billing.office import Server

LIMITS = tuple(
    LeaseLimits(most_requests=12, tell_draws=3, open_asks=2, keep_draws=least, call_leases=2)
    for least in (1, 0)
)
"""Of each worker: leases that open at once, are small, and tell of a few draws at a time; one
closes those that are not drawn from."""

Loss = Literal["", "call", "late call", "reply"]
"""What becomes of a call of leases, besides that its caller hears of nothing."""
Told = Callable[[int, Sequence[LeaseCall], Sequence[Leased | None]], None]


@dataclass
class Line:
    """The hot copy as one worker reaches it; ``told`` hears of all calls of leases that were made.

    ``late`` are calls that arrive when nobody waits for them any more. ``lease_ids`` are those that
    it opened last, by what they are for; ``calls`` counts.
    """

    hot: HotStore
    told: Told
    loses: Loss = ""
    late: list[tuple[int, Sequence[LeaseCall]]] = field(default_factory=list)
    lease_ids: dict[str, str] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    calls: int = 0

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        return await self.hot.admit(epoch, holds)

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        self.calls += 1
        self.lease_ids |= {c.hold.pool: c.lease_id for c in calls if c.step is Step.OPEN}
        self.opened |= {c.lease_id for c in calls}
        if self.loses == "late call":
            self.late.append((epoch, calls))
        if self.loses in ("call", "late call"):
            raise StoreUnavailable("the call was lost")
        answers = await self.deliver(epoch, calls)
        if self.loses == "reply":
            raise StoreUnavailable("the reply was lost")
        return answers

    async def deliver(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        """Make a call of leases."""
        answers = await self.hot.tend(epoch, calls)
        self.told(epoch, calls, answers)
        return answers

    async def load(self, epoch: int, copies: Sequence[tuple[str, Truth]]) -> Sequence[bool]:
        return await self.hot.load(epoch, copies)

    async def publish(self, publications: Sequence[Publication]) -> None:
        await self.hot.publish(publications)

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        await self.hot.extend(lives)

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        return await self.hot.read(account_ids)

    async def drop(self, account_ids: Sequence[str]) -> None:
        await self.hot.drop(account_ids)


class Seat(MemoryWorkers):
    """One worker's seat in the office; its journal goes to the ledger of the model, each batch
    ``times`` times. ``written`` are the rows of which nobody took note yet."""

    def __init__(self, office: MemoryOffice, worker_id: str, ledger: JournalStore) -> None:
        super().__init__(office, worker_id)
        self._ledger = ledger
        self.times = 1
        self.written: list[JournalRow] = []

    async def record(self, rows: Sequence[JournalRow]) -> None:
        for _ in range(self.times):
            await self._ledger.record(rows)
        self.written += rows


class ModelWorker:
    """One worker; ``clock_s`` is of leases and heartbeats, ``now_s`` Unix time.

    While it is ``cut`` off from Postgres nobody hears its heartbeats, and it journals nothing.
    """

    def __init__(
        self,
        name: str,
        line: Line,
        *,
        office: MemoryOffice,
        journal: JournalStore,
        truth: TruthStore,
        clock_s: Callable[[], float],
        now_s: Callable[[], float],
        limits: LeaseLimits,
    ) -> None:
        numbers = iter(range(10**6))
        self.now_s = now_s
        self.line = line
        self.seat = Seat(office, name, journal)
        self.journal = Journal(self.seat, _never_refused)
        self.buffer: list[JournalRow] = []
        self.epochs = EpochKeeper(self.seat, Server(), print)
        self.fence = Fence()
        self.leases = Leases(
            hot=line,
            journal=self.journal,
            epoch=self.epochs,
            fence=self.fence,
            clock_s=clock_s,
            now_s=now_s,
            new_id=lambda: f"{name}-{next(numbers):06d}",
            metrics=LeaseMetrics(CollectorRegistry()),
            limits=limits,
        )
        self._worker = Worker(
            journal=self.journal,
            workers=self.seat,
            epoch=self.epochs,
            hot=line,
            truth=truth,
            leases=self.leases,
            fence=self.fence,
            clock=now_s,
            clock_s=clock_s,
            report=_never_refused,
        )
        self.heard_s = -FRESH.total_seconds()
        self.cut = False

    @property
    def epoch(self) -> int:
        return self.epochs.number

    async def hear_epoch(self) -> None:
        """Learn the epoch in force."""
        await self._worker.answer(Change("epoch"))

    def beat(self, clock_s: float) -> None:
        """A heartbeat is heard, unless the worker is cut off."""
        if not self.cut:
            self.fence.confirm(clock_s)
            self.heard_s = clock_s

    def counts_as_live(self, clock_s: float) -> bool:
        """Whether barriers wait for it."""
        return clock_s - self.heard_s < FRESH.total_seconds()

    async def flush(self, times: int) -> None:
        """The journal is written, perhaps twice."""
        self.seat.times = times
        await self.journal.flush()

    def take_written(self) -> list[JournalRow]:
        """What was journaled since the last time."""
        written, self.seat.written = self.seat.written, []
        self.buffer = [row for row in self.buffer if row not in written]
        return written

    async def answer_barrier(self) -> None:
        """Do what a barrier of another worker asks for."""
        await self._worker.answer(Change("barrier", detail="1"))

    async def flush_own(self, account: str) -> None:
        """Do what the worker does itself before it builds the copy of an account."""
        await self._worker.flush_own([account])

    def draw(self, hold: Hold, row: JournalRow) -> Admitted | None:
        """Admit from a lease."""
        admitted = self.leases.draw(hold, row)
        if admitted is not None:
            self.buffer.append(row)
        return admitted

    def add(self, row: JournalRow) -> None:
        """Journal what the hot copy admitted, a moment later."""
        self.journal.add(row)
        self.buffer.append(row)


def _never_refused(*said: object) -> None:
    raise AssertionError(f"a worker complains: {said}")
