"""Reserving over real Postgres and Redis, with several workers and a hot copy that comes and
goes."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from redis.asyncio import Redis as RedisClient

from billing.reservations import CREDITS, Admitted, Budget, Short
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.redis_client import CLUSTER_SCHEME
from tests.contract.front_workers import ask, front, open_account, race, settlement


@pytest.fixture(params=["single", "cluster"])
def hot_url(request: pytest.FixtureRequest) -> str:
    """A single Redis and a Cluster of three masters."""
    if request.param == "single":
        return str(request.getfixturevalue("redis_url"))
    url = str(request.getfixturevalue("redis_cluster_url"))
    return url.replace("redis://", CLUSTER_SCHEME)


async def test_two_workers_admit_exactly_what_the_balance_covers(
    database: str, hot_url: str
) -> None:
    """200 requests at once against a balance for 100: 100 are admitted, by two workers together."""
    account = await open_account(database, 100 * 7)
    async with front(database, hot_url) as one, front(database, hot_url) as two:
        admitted = await race([one, two], account, 200, 7)
        copies = await one.hot.read([account])
    assert len(admitted) == 100
    assert copies[account].posted_nanos == 700
    assert {ident for ident, _ in copies[account].pending} == {h.reservation_id for h in admitted}


async def test_a_flush_between_admissions_frees_nothing(database: str, redis_url: str) -> None:
    """What was admitted before Redis was flushed still counts after it, whoever admitted it."""
    account = await open_account(database, 100)
    client = RedisClient.from_url(redis_url)
    async with front(database, redis_url) as one, front(database, redis_url) as two:
        admitted = 0
        for _ in range(10):
            admitted += len(await race([one, two], account, 20, 1))
            await client.flushall()
            admitted += len(await race([two], account, 2, 1))
            await client.flushall()
    await client.aclose()
    assert admitted == 100


async def test_an_evicted_copy_is_built_with_what_is_not_journaled_yet(
    database: str, redis_url: str
) -> None:
    """A worker that journals only when asked is asked before another builds the copy anew."""
    account = await open_account(database, 10)
    client = RedisClient.from_url(redis_url)
    async with (
        front(database, redis_url, journal_s=3600) as slow,
        front(database, redis_url) as other,
    ):
        assert len(await race([slow], account, 10, 1)) == 10
        assert slow.journal.depth == 10
        await client.delete(f"tk:{{{account}}}")
        hold, row = ask(account, 1)
        answer = await other.reserver.reserve(hold, row, "closed")
    await client.aclose()
    assert isinstance(answer, Short)
    assert answer.budget == CREDITS


async def test_a_settled_request_gives_back_what_it_did_not_use(
    database: str, redis_url: str
) -> None:
    """After settlement and publication the balance is short by the price only, in both stores."""
    account = await open_account(database, 1_000)
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    ledger = PostgresLedger(pool)
    async with front(database, redis_url) as one:
        (hold,) = await race([one], account, 1, 900)
        batch = await ledger.settle([settlement(hold, 123)], int(time.time() * 1e6))
        await one.hot.publish(batch.publications)
        await one.hot.publish(batch.publications)
        copy = (await one.hot.read([account]))[account]
        admitted = await race([one], account, 2, 877)
    await pool.close()
    assert (copy.posted_nanos, list(copy.pending)) == (877, [])
    assert len(admitted) == 1


async def test_counted_budgets_are_all_or_nothing(database: str, redis_url: str) -> None:
    """A request that the quota refuses holds no credits, and its place in flight stays free."""
    account = await open_account(database, 1_000)
    window = int(time.time()) - 5
    async with front(database, redis_url) as one:
        hold, row = ask(
            account, 10, [Budget("flight:llm", 0, 2, 1), Budget("units:llm", window, 5, 6)]
        )
        refused = await one.reserver.reserve(hold, row, "closed")
        hold, row = ask(
            account, 1_000, [Budget("flight:llm", 0, 1, 1), Budget("units:llm", window, 5, 5)]
        )
        passed = await one.reserver.reserve(hold, row, "closed")
    assert refused == Short("units:llm", 5, 5)
    assert isinstance(passed, Admitted)


async def test_a_top_up_reaches_the_hot_copy_by_itself(database: str, redis_url: str) -> None:
    """A balance that changes in Postgres is in force in Redis within a second."""
    account = await open_account(database, 5)
    connection = await asyncpg.connect(database)
    async with front(database, redis_url) as one:
        assert len(await race([one], account, 10, 5)) == 1
        await connection.execute("UPDATE accounts SET overdraft_nanos = 50 WHERE id = $1", account)
        await connection.execute(
            "UPDATE ledger_accounts SET version = version + 1 WHERE account_id = $1", account
        )
        await connection.execute(
            "SELECT pg_notify('tollkeeper_changes', 'balance ' || $1::text)", account
        )
        deadline = time.monotonic() + 1.0
        while not await race([one], account, 1, 5):
            assert time.monotonic() < deadline, "the news did not arrive within a second"
            await asyncio.sleep(0.01)
    await connection.close()
