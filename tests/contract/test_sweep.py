"""Stray holds over real Postgres and Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from billing.lease_calls import LeaseCall, Step
from billing.reservations import Admitted, Budget, Hold
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_strays import PostgresStrays
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from billing.sweep import Sweep, SweepLimits
from devstack import free_port
from tests.contract.front_workers import Front, ask, front, open_account, settlement

LATER_S = 10_000.0
LIMITS = SweepLimits(breath_s=0.0)


def _sweep(one: Front, pool: asyncpg.Pool, said: list[str]) -> Sweep:
    """A sweep whose clock is past the life of every hold of the test."""
    return Sweep(
        one.hot,
        PostgresStrays(pool),
        clock=lambda: time.time() + LATER_S,
        report=said.append,
        registry=CollectorRegistry(),
        limits=LIMITS,
    )


async def _hold(one: Front, account: str, amounts: Sequence[int]) -> None:
    answers = await asyncio.gather(
        *(one.reserver.reserve(*ask(account, amount), "closed") for amount in amounts)
    )
    assert all(isinstance(answer, Admitted) for answer in answers)


async def test_a_hold_that_was_never_journaled_expires_after_all(
    database: str, redis_url: str
) -> None:
    """A worker that died before it journaled leaves a hold; the sweep enters it and it expires."""
    account = await open_account(database, 100)
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        async with front(database, redis_url, journal_s=3600) as dying:
            await _hold(dying, account, [30, 20])
            sweep = _sweep(dying, pool, [])
            assert dying.journal.depth == 2
            assert await sweep.sweep() == 2
            batch = await PostgresLedger(pool).expire(int(time.time() * 1e6) + 10**6, 100)
            await dying.hot.publish(batch.publications)
            copy = (await dying.hot.read([account]))[account]
            assert await sweep.sweep() == 0
        states = await pool.fetch("SELECT state FROM reservations")
    assert list(copy.pending) == []
    assert [row["state"] for row in states] == ["expired", "expired"]


async def test_a_hold_that_ended_and_was_not_told_of_is_taken_away(
    database: str, redis_url: str
) -> None:
    """A settlement whose publication was lost leaves a hold; the sweep removes it and the balance
    is the posted one."""
    account = await open_account(database, 100)
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        async with front(database, redis_url) as one:
            hold, row = ask(account, 60)
            assert isinstance(await one.reserver.reserve(hold, row, "closed"), Admitted)
            await PostgresLedger(pool).settle([settlement(hold, 7)], int(time.time() * 1e6))
            assert await _sweep(one, pool, []).sweep() == 1
            copy = (await one.hot.read([account]))[account]
            answer = await one.reserver.reserve(*ask(account, 93), "closed")
        truth = (await PostgresTruth(pool).truth([account], time.time()))[account]
    assert (copy.posted_nanos, list(copy.pending)) == (93, [])
    assert truth.posted_nanos == 93
    assert isinstance(answer, Admitted)


async def test_a_hold_within_its_life_is_left_alone(database: str, redis_url: str) -> None:
    """The sweep touches nothing that may still be settled."""
    account = await open_account(database, 100)
    async with (
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
        front(database, redis_url) as one,
    ):
        await _hold(one, account, [10])
        sweep = Sweep(
            one.hot,
            PostgresStrays(pool),
            clock=time.time,
            report=print,
            registry=CollectorRegistry(),
            limits=LIMITS,
        )
        assert await sweep.sweep() == 0
        assert len((await one.hot.read([account]))[account].pending) == 1


async def _lease(one: Front, account: str, ident: str, life_s: int) -> None:
    """A lease of a worker that then died."""
    asked = Hold("", account, 10, 0, (Budget("units:llm", 0, 1000, 2),))
    opened = LeaseCall(ident, 1, Step.OPEN, 5, asked, life_s)
    (answer,) = await one.hot.tend(one.worker._epoch.number, [opened])
    assert answer is not None
    assert answer.granted == 5


async def test_leases_of_the_dead_go_after_their_life_and_the_grace(
    database: str, redis_url: str
) -> None:
    """With the copy that has them, which is built anew from what is journaled; while a lease is
    within its life and the grace it stays, and so does its copy."""
    over, young = await open_account(database, 1000), await open_account(database, 1000)
    now_s, grace_s = int(time.time()), 30
    registry = CollectorRegistry()
    async with (
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
        front(database, redis_url) as one,
    ):
        await _hold(one, over, [1])
        await _hold(one, young, [1])
        await _lease(one, over, "over", now_s)
        await _lease(one, over, "over, too", now_s - 5)
        await _lease(one, over, "beside them", now_s + 1)
        await _lease(one, young, "young", now_s + 1)
        sweep = Sweep(
            one.hot,
            PostgresStrays(pool),
            clock=lambda: now_s + grace_s + 0.5,
            report=print,
            registry=registry,
            limits=LIMITS,
        )
        assert await sweep.sweep() == 2
        assert await sweep.sweep() == 0
        copies = await one.hot.read([over, young])
        asked = ask(over, 1000 - 1, [Budget("units:llm", 0, 1000, 1000)])
        answer = await one.reserver.reserve(*asked, "closed")
    assert over not in copies
    assert [ident for ident, _ in copies[young].leases] == ["young"]
    assert registry.get_sample_value("tollkeeper_stray_holds_total", {"state": "lease"}) == 2
    assert answer == Admitted(0)


async def test_a_sweep_without_redis_is_reported_and_goes_on(database: str) -> None:
    """A Redis that does not answer stops one sweep, and not the process that sweeps."""
    said: list[str] = []
    client = connect(f"redis://127.0.0.1:{free_port()}/0", deadline_s=0.2)
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        sweep = Sweep(
            RedisHotStore(client, lambda: "token", deadline_s=0.2),
            PostgresStrays(pool),
            clock=time.time,
            report=said.append,
            registry=CollectorRegistry(),
            limits=SweepLimits(pause_s=0.01),
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await sweep.run()
    await client.aclose()
    assert len(said) > 1
    assert all(text.startswith("the sweep stopped early: accounts: ") for text in said)
