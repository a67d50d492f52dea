"""Clocks that are off by minutes: reservations may end early or late, money stays exact.

These run a worker of the front door and the ledger in this process, over real Postgres and Redis,
with times of our own, step by step; ``test_wrong_clocks.py`` has the roles themselves.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from billing.ledger import SettledBatch
from billing.reservations import Admitted, Budget, Hold
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_truth import PostgresTruth
from tests.contract.front_workers import (
    LIFETIME_S,
    Front,
    ask,
    front,
    open_account,
    settlement,
)
from tollkeeper.ledger_hot_check import differences

BALANCE = 1_000
PRICE = 30
MINUTES_US = 5 * 60 * 10**6


@dataclass(frozen=True)
class Bench:
    """One account, a worker that admits for it, and the ledger."""

    account: str
    front: Front
    ledger: PostgresLedger
    pool: asyncpg.Pool

    async def admit(self, amount: int, budgets: tuple[Budget, ...] = ()) -> Hold:
        hold, row = ask(self.account, amount, budgets)
        assert isinstance(await self.front.reserver.reserve(hold, row, "closed"), Admitted)
        await self.front.journal.flush()
        return hold

    async def tell(self, batch: SettledBatch) -> SettledBatch:
        await self.front.hot.publish(batch.publications)
        return batch

    async def expect(self, posted: int, state: str) -> None:
        """Assert the balance in both stores, and how the only reservation ended."""
        truth = (await PostgresTruth(self.pool).truth([self.account], time.time()))[self.account]
        copy = (await self.front.hot.read([self.account]))[self.account]
        assert list(differences(copy, truth)) == []
        assert truth.posted_nanos == posted
        states = await self.pool.fetch("SELECT state FROM reservations")
        assert [row["state"] for row in states] == [state]


@pytest_asyncio.fixture
async def bench(database: str, redis_url: str) -> AsyncIterator[Bench]:
    account = await open_account(database, BALANCE)
    async with (
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
        front(database, redis_url) as one,
    ):
        yield Bench(account, one, PostgresLedger(pool), pool)


async def test_a_clock_that_is_ahead_expires_early_and_charges_once(bench: Bench) -> None:
    """A settler that is ahead ends a live reservation; the entry comes and makes it late."""
    hold = await bench.admit(100)
    ahead_us = int(time.time() * 1e6) + LIFETIME_S * 10**6 + MINUTES_US
    expired = await bench.tell(await bench.ledger.expire(ahead_us, 10))
    assert expired.released == 1
    await bench.expect(BALANCE, "expired")
    for duplicates in (0, 1):
        batch = await bench.ledger.settle([settlement(hold, PRICE)], ahead_us)
        assert (await bench.tell(batch)).duplicates == duplicates
    await bench.expect(BALANCE - PRICE, "late")


@pytest.mark.parametrize("off_us", [-MINUTES_US, MINUTES_US])
async def test_a_settlement_counts_by_whichever_clock(bench: Bench, off_us: int) -> None:
    """A settler that is behind or ahead by minutes settles what is alive, once."""
    hold = await bench.admit(100)
    now_us = int(time.time() * 1e6) + off_us
    assert (await bench.ledger.expire(now_us, 10)).released == 0
    batch = await bench.tell(await bench.ledger.settle([settlement(hold, PRICE)], now_us))
    assert batch.settled == 1
    await bench.expect(BALANCE - PRICE, "settled")


async def test_a_worker_that_is_behind_does_not_open_the_last_window(bench: Bench) -> None:
    """A worker whose clock is before the others' still counts in the window that they are in."""
    now_s = int(time.time())
    earlier = Budget("units:llm", now_s - 300, 10, 6)
    later = Budget("units:llm", now_s, 10, 6)
    await bench.admit(1, (later,))
    hold, row = ask(bench.account, 1, (earlier,))
    refused = await bench.front.reserver.reserve(hold, row, "closed")
    assert not isinstance(refused, Admitted)
