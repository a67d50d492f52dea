"""Workers over memory stores, for unit tests of what they do together."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from billing.allowance import Allowance
from billing.breaker import Breaker
from billing.copier import Copier
from billing.epoch import EpochKeeper
from billing.fence import Fence
from billing.journal import Journal, JournalLimits
from billing.leases import Leases
from billing.leases_metrics import LeaseMetrics
from billing.reservations import Hold, JournalRow
from billing.reserver import Reserver
from billing.reserver_metrics import ReserverMetrics
from billing.stores.memory_hot import MemoryHotStore
from billing.stores.memory_ledger import MemoryLedgerStore
from billing.stores.memory_workers import MemoryOffice, MemoryWorkers
from billing.worker import Worker

NOW_S = 1_800_000_000.0
LIFE_S = 600
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
    reports: list[str]


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

    async def seat(self, name: str) -> Seat:
        """A worker that is registered and knows the epoch."""
        workers = MemoryWorkers(self.shared, name)
        reports: list[str] = []
        journal = Journal(
            workers, lambda why, _row: reports.append(why), JournalLimits(max_rows=50)
        )
        epoch = EpochKeeper(workers, self.server, reports.append)
        fence = Fence()
        leases = Leases(
            hot=self.hot,
            journal=journal,
            epoch=epoch,
            fence=fence,
            clock_s=lambda: self.clock_s,
            now_s=lambda: NOW_S + self.clock_s,
            new_id=lambda: f"{name}-{next(self.numbers)}",
            metrics=LeaseMetrics(CollectorRegistry()),
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
            metrics=ReserverMetrics(CollectorRegistry()),
        )
        worker.serve(reserver)
        await worker.start()
        self.shared.listeners[name] = worker.answer
        return Seat(worker, reserver, journal, epoch, allowance, leases, reports)


def ask(account: str, amount_nanos: int, number: int) -> tuple[Hold, JournalRow]:
    """A request for a hold, and its journal row."""
    ident = f"00000000-0000-7000-8000-{number:012d}"
    hold = Hold(ident, account, amount_nanos, int(NOW_S) + LIFE_S)
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
