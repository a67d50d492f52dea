"""Workers of the front door without the front door: reserver, journal, epoch and copies, over real
stores."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import uuid_utils
from prometheus_client import CollectorRegistry

from billing.allowance import Allowance
from billing.breaker import Breaker
from billing.copier import Copier
from billing.epoch import EpochKeeper
from billing.fence import Fence
from billing.journal import Journal, JournalLimits
from billing.leases import Leases
from billing.leases_metrics import LeaseMetrics
from billing.ledger import PLATFORM, Settlement, make_transfer
from billing.news import News
from billing.rate import Rate
from billing.reservations import Admission, Admitted, Budget, Hold, JournalRow, Short
from billing.reserver import Reserver
from billing.reserver_metrics import ReserverMetrics
from billing.stores.postgres_chain import append_batch, lock_chain, post_balances
from billing.stores.postgres_principals import PostgresPrincipals
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.postgres_workers import PostgresWorkers
from billing.stores.redis_client import IdentityGuard, connect
from billing.stores.redis_hot import RedisHotStore
from billing.stores.redis_server import RedisServer
from billing.stores.settlement_rows import balance_changes
from billing.worker import Worker

DEADLINE_S = 1.0
LIFETIME_S = 600


def new_id() -> str:
    return str(uuid_utils.uuid7())


@dataclass(frozen=True)
class Front:
    """One running worker, and what tests look at."""

    worker: Worker
    reserver: Reserver
    journal: Journal
    hot: RedisHotStore
    leases: Leases
    tasks: Mapping[str, asyncio.Task[None]]

    async def admit(self, hold: Hold, row: JournalRow) -> Admission:
        """From a lease if there is one, as the front door does it."""
        return self.reserver.draw(hold, row) or await self.reserver.reserve(hold, row, "closed")

    async def halt(self, *names: str) -> None:
        """From now on these jobs of the worker are not run (``Leases.run``); without names, none
        is."""
        halted = [task for name, task in self.tasks.items() if not names or name in names]
        for task in halted:
            task.cancel()
        for task in halted:
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def front(
    dsn: str, redis_url: str, *, journal_s: float = 0.05, store: type[RedisHotStore] = RedisHotStore
) -> AsyncIterator[Front]:
    """A worker that runs until the block ends."""
    worker_id = str(uuid4())
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4)
    guard = IdentityGuard()
    client, probe = connect(redis_url, DEADLINE_S, guard=guard), connect(redis_url, DEADLINE_S)
    tokens = itertools.count()
    hot = store(client, lambda: f"{worker_id}:{next(tokens)}", DEADLINE_S)
    workers = PostgresWorkers(pool, worker_id, "authz")
    reports: list[str] = []
    journal = Journal(
        workers, lambda why, _row: reports.append(why), JournalLimits(interval_s=journal_s)
    )
    epoch = EpochKeeper(workers, RedisServer(probe, guard), reports.append)
    truth = PostgresTruth(pool)
    allowance = Allowance()
    fence = Fence()
    leases = _leases(hot, journal, epoch, fence)
    worker = Worker(
        journal=journal,
        workers=workers,
        epoch=epoch,
        hot=hot,
        truth=truth,
        leases=leases,
        fence=fence,
        clock=time.time,
        clock_s=time.monotonic,
        report=reports.append,
    )
    reserver = Reserver(
        hot=hot,
        copier=Copier(hot, truth, workers, worker.flush_own, time.time),
        journal=journal,
        epoch=epoch,
        allowance=allowance,
        breaker=Breaker(time.monotonic),
        leases=leases,
        clock=time.time,
        metrics=ReserverMetrics(CollectorRegistry()),
    )
    worker.serve(reserver)
    news = News(PostgresPrincipals(pool, dsn, f"tollkeeper {worker_id}"))
    await worker.start()
    jobs = (news.run(), *worker.jobs(news))
    tasks = {getattr(job, "__qualname__", ""): asyncio.create_task(job) for job in jobs}
    running = Front(worker, reserver, journal, hot, leases, tasks)
    try:
        yield running
    finally:
        await running.halt()
        await worker.stop()
        await client.aclose()
        await probe.aclose()
        await pool.close()


def _leases(hot: RedisHotStore, journal: Journal, epoch: EpochKeeper, fence: Fence) -> Leases:
    return Leases(
        hot=hot,
        journal=journal,
        epoch=epoch,
        fence=fence,
        clock_s=time.monotonic,
        now_s=time.time,
        new_id=new_id,
        metrics=LeaseMetrics(CollectorRegistry()),
    )


async def open_account(dsn: str, balance_nanos: int, overdraft_nanos: int = 0) -> str:
    """An account with that balance; returns its id."""
    account = new_id()
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO accounts (id, name, overdraft_nanos)"
                " VALUES ($1::uuid, $1::uuid::text, $2)",
                account,
                overdraft_nanos,
            )
            await connection.execute(
                "INSERT INTO ledger_accounts (account_id, code) VALUES ($1, 'credits')", account
            )
            if balance_nanos:
                head = await lock_chain(connection)
                topup = make_transfer(
                    account, new_id(), "topup", balance_nanos, int(time.time() * 1e6)
                )
                await append_batch(connection, head, "topup", [topup], ())
                await post_balances(connection, balance_changes([account], [topup]))
    finally:
        await connection.close()
    return account


def ask(
    account: str,
    amount_nanos: int,
    budgets: Sequence[Budget] = (),
    *,
    pool: str = "",
    rate: Rate | None = None,
) -> tuple[Hold, JournalRow]:
    """A request for a hold, and its journal row; one with a pool may come from a lease."""
    expires_s = int(time.time()) + LIFETIME_S
    hold = Hold(new_id(), account, amount_nanos, expires_s, tuple(budgets), rate, "", pool)
    row = JournalRow(
        hold.reservation_id,
        account,
        PLATFORM,
        "llm",
        "chat",
        "v1",
        amount_nanos,
        amount_nanos,
        hold.record(),
        "{}",
        int(time.time() * 1e6),
        expires_s,
    )
    return hold, row


async def race(fronts: Sequence[Front], account: str, requests: int, amount: int) -> list[Hold]:
    """Ask through all workers at once; returns what was admitted."""
    asked = [ask(account, amount) for _ in range(requests)]
    answers = await asyncio.gather(
        *(
            fronts[i % len(fronts)].reserver.reserve(hold, row, "closed")
            for i, (hold, row) in enumerate(asked)
        )
    )
    assert all(isinstance(a, Admitted | Short) for a in answers), answers
    return [hold for (hold, _), a in zip(asked, answers, strict=True) if isinstance(a, Admitted)]


def settlement(hold: Hold, price_nanos: int, *, billed: bool = True) -> Settlement:
    """The end of a hold, at that price."""
    now_us = int(time.time() * 1e6)
    return Settlement(
        reservation_id=hold.reservation_id,
        account_id=hold.account_id,
        key_id=PLATFORM,
        profile="llm",
        route="chat",
        meter="flat",
        model="",
        price_version="v1",
        outcome="answered" if billed else "not_answered",
        status="billed",
        billed=billed,
        units=1 if billed else 0,
        price_nanos=price_nanos,
        provider_cost_nanos=None,
        held_nanos=hold.amount_nanos,
        quoted_nanos=hold.amount_nanos,
        record=hold.record(),
        formula="",
        review="",
        facts="{}",
        admitted_us=now_us,
        completed_us=now_us,
        expires_s=hold.expires_s,
    )
