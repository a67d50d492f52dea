"""Workers over memory stores, for unit tests of what they do together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from billing.allowance import Allowance
from billing.breaker import Breaker
from billing.copier import Copier
from billing.epoch import EpochKeeper
from billing.fence import Fence
from billing.journal import Journal, JournalLimits
from billing.leases import LeaseLimits, Leases
from billing.leases_metrics import LeaseMetrics
from billing.rate import Rate
from billing.reservations import Admission, Budget, Hold, JournalRow
from billing.reserver import Reserver, ReserverLimits
from billing.reserver_metrics import ReserverMetrics
from billing.stores.memory_hot import MemoryHotStore
from billing.stores.memory_ledger import MemoryLedgerStore
from billing.stores.memory_workers import MemoryOffice, MemoryWorkers
from billing.worker import Worker

NOW_S = 1_800_000_000.0
LIFE_S = 600
STEP_S = 0.05
"""How often leases are looked after."""
KEY = "00000000-0000-0000-0000-00000000000a"


class Server:
    """The running hot copy, as the epoch keeper sees it."""

    def __init__(self) -> None:
        self.name = "first"
        self.expected = ""
        self.told = 0

    def expect(self, identity: str) -> None:
        self.expected = identity

    async def identity(self) -> str:
        return self.name

    async def told_batch(self) -> int:
        return self.told

    async def tell_batch(self, batch_id: int) -> None:
        self.told = batch_id


@dataclass
class Seat:
    """One worker."""

    worker: Worker
    reserver: Reserver
    journal: Journal
    epoch: EpochKeeper
    allowance: Allowance
    leases: Leases
    fence: Fence
    registry: CollectorRegistry
    reports: list[str]

    async def admit(self, hold: Hold, row: JournalRow) -> Admission:
        """As the front door does: from a lease, or by asking."""
        return self.reserver.draw(hold, row) or await self.reserver.reserve(hold, row, "closed")


@dataclass
class Office:
    """Several workers on one ledger and one hot copy."""

    ledger: MemoryLedgerStore = field(default_factory=MemoryLedgerStore)
    server: Server = field(default_factory=Server)
    clock_s: float = 0.0

    def __post_init__(self) -> None:
        self.numbers = numbers = itertools.count()
        self.shared = MemoryOffice(self.ledger)
        self.hot = MemoryHotStore(lambda: self.clock_s, lambda: f"t{next(numbers)}")

    async def live(self, seconds_s: float, *seats: Seat) -> None:
        """Time passes for these workers, in steps: they beat, journal and look after leases."""
        for _ in range(round(seconds_s / STEP_S)):
            self.clock_s += STEP_S
            for seat in seats:
                seat.fence.confirm(self.clock_s)
                await seat.journal.flush()
                await seat.leases.tend()

    async def seat(self, name: str, limits: LeaseLimits | None = None) -> Seat:
        """A worker that is registered and knows the epoch."""
        workers = MemoryWorkers(self.shared, name)
        reports: list[str] = []
        journal = Journal(
            workers, lambda why, _row: reports.append(why), JournalLimits(max_rows=50)
        )
        epoch = EpochKeeper(workers, self.server, reports.append)
        fence, registry = Fence(), CollectorRegistry()
        leases = Leases(
            hot=self.hot,
            journal=journal,
            epoch=epoch,
            fence=fence,
            clock_s=lambda: self.clock_s,
            now_s=lambda: NOW_S + self.clock_s,
            new_id=lambda: f"{name}-{next(self.numbers)}",
            metrics=LeaseMetrics(registry),
            limits=limits,
        )
        worker = Worker(
            journal=journal,
            workers=workers,
            epoch=epoch,
            hot=self.hot,
            truth=self.ledger,
            leases=leases,
            fence=fence,
            clock=lambda: NOW_S,
            clock_s=lambda: self.clock_s,
            report=reports.append,
        )
        allowance = Allowance(share=2)
        reserver = Reserver(
            hot=self.hot,
            copier=Copier(self.hot, self.ledger, workers, worker.flush_own, lambda: NOW_S),
            journal=journal,
            epoch=epoch,
            allowance=allowance,
            breaker=Breaker(lambda: self.clock_s),
            leases=leases,
            clock=lambda: NOW_S,
            metrics=ReserverMetrics(registry),
            limits=ReserverLimits(retry_s=0.0, leased_retry_s=0.0),
        )
        worker.serve(reserver)
        await worker.start()
        self.shared.listeners[name] = worker.answer
        return Seat(worker, reserver, journal, epoch, allowance, leases, fence, registry, reports)


def ask(
    account: str,
    amount_nanos: int,
    number: int,
    *,
    budgets: Sequence[Budget] = (),
    rate: Rate | None = None,
    pool: str = "",
) -> tuple[Hold, JournalRow]:
    """A request for a hold, and its journal row; without a pool it never comes from a lease."""
    ident = f"00000000-0000-7000-8000-{number:012d}"
    life_s = int(NOW_S) + LIFE_S
    hold = Hold(ident, account, amount_nanos, life_s, tuple(budgets), rate, "", pool)
    row = JournalRow(
        ident,
        account,
        KEY,
        "llm",
        "chat",
        "v1",
        amount_nanos,
        amount_nanos,
        hold.record(),
        "{}",
        int(NOW_S * 1e6),
        int(NOW_S) + LIFE_S,
    )
    return hold, row


async def settle_down() -> None:
    """Let tasks that are ready run."""
    for _ in range(20):
        await asyncio.sleep(0)
