"""Workers that lease, over real Postgres and Redis: nothing is admitted past what there is,
whatever becomes of the hot copy and of the workers."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from functools import partial

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis as RedisClient

from billing.reservations import Admitted, Budget
from billing.stores.postgres_check import FULL_SPEED
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_strays import PostgresStrays
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.redis_client import CLUSTER_SCHEME
from billing.sweep import Sweep, SweepLimits
from tests.contract.front_workers import LIFETIME_S, Front, ask, front, open_account, settlement
from tests.contract.lease_askers import (
    DEADLINE_S,
    POLL_S,
    Asker,
    SlowStore,
    check_copy,
    leases_of,
    nothing_leased,
    until,
)
from tollkeeper.ledger_hot_check import Hot, prove_hot

SILENT_S = 1.7
"""After so long without a heartbeat a worker without a session is not waited for."""


@pytest.fixture(params=["single", "cluster"])
def hot_url(request: pytest.FixtureRequest) -> str:
    """A single Redis and a Cluster of three masters."""
    if request.param == "single":
        return str(request.getfixturevalue("redis_url"))
    url = str(request.getfixturevalue("redis_cluster_url"))
    return url.replace("redis://", CLUSTER_SCHEME)


async def test_leases_that_are_out_refuse_nobody(database: str, hot_url: str) -> None:
    """Two workers hold leases when the rest is asked for: exactly what the balance covers is
    admitted, because what is short is called back."""
    asked = Asker(await open_account(database, 100 * 7), 7)
    async with front(database, hot_url) as one, front(database, hot_url) as two:
        await asked.until_drawn(one)
        await asked.until_drawn(two)
        assert await leases_of(one, asked.account) == 2
        await asked.race([one], 200)
        copies = await one.hot.read([asked.account])
    assert len(asked.admitted) == 100
    assert len(asked.drawn) >= 10
    assert copies[asked.account].posted_nanos == 700


@pytest.mark.parametrize("kind", ["flight", "units"])
async def test_counted_budgets_are_exact_with_leases(
    database: str, hot_url: str, kind: str
) -> None:
    """The same for requests at once, and for units of a period."""
    window_s = 0 if kind == "flight" else int(time.time()) - 5
    budget = Budget(f"{kind}:llm", window_s, 100 * 3, 3)
    asked = Asker(await open_account(database, 10**6), 1, [budget])
    async with front(database, hot_url) as one, front(database, hot_url) as two:
        await asked.until_drawn(one)
        await asked.until_drawn(two)
        await asked.race([one, two], 200)
    assert len(asked.admitted) == 100


async def test_a_burst_is_never_passed_with_leases(database: str, redis_url: str) -> None:
    """No more requests than the burst come at once, and turns that are out come back; the call of a
    lease may cost one turn."""
    asked = Asker(await open_account(database, 10**6), 0, rate=100)
    async with front(database, redis_url) as one, front(database, redis_url) as two:
        await asked.until_drawn(one)
        await asked.until_drawn(two)
        await asked.race([one], 200)
    assert 98 <= len(asked.admitted) <= 100


async def test_a_flush_in_the_middle_of_drawing_frees_nothing(
    database: str, redis_url: str
) -> None:
    """Two workers draw while Redis is flushed again and again: in the end exactly the balance was
    admitted."""
    asked = Asker(await open_account(database, 2_500))
    client = RedisClient.from_url(redis_url)
    flushes = 0
    async with front(database, redis_url) as one, front(database, redis_url) as two:

        async def keep_asking(by: Front) -> None:
            while await asked.once(by):
                await asyncio.sleep(0.001)

        async def keep_flushing() -> None:
            nonlocal flushes
            while True:
                enough = len(asked.drawn) + 10
                while len(asked.drawn) < enough:
                    await asyncio.sleep(0.001)
                await client.flushall()
                flushes += 1

        flushing = asyncio.create_task(keep_flushing())
        await asyncio.gather(keep_asking(one), keep_asking(two))
        flushing.cancel()
        await asked.empty(one)
    await client.aclose()
    assert flushes > 3
    assert len(asked.admitted) == 2_500


async def test_an_evicted_copy_is_built_with_what_was_drawn(database: str, redis_url: str) -> None:
    """A worker that journals only when asked is asked for its draws before another builds."""
    asked = Asker(await open_account(database, 3_000))
    client = RedisClient.from_url(redis_url)
    async with (
        front(database, redis_url, journal_s=3600) as slow,
        front(database, redis_url) as other,
    ):
        for _ in range(4):
            await asked.until_drawn(slow)
            assert slow.journal.depth >= 5
            await client.delete(f"tk:{{{asked.account}}}")
            assert await asked.once(other)
            copy = (await other.hot.read([asked.account]))[asked.account]
            assert {hold.reservation_id for hold in asked.admitted} == dict(copy.pending).keys()
            assert not copy.leases
        await asked.empty(other)
    await client.aclose()
    assert len(asked.admitted) == 3_000


async def test_a_stopped_process_draws_nothing_when_it_goes_on(
    database: str, redis_url: str
) -> None:
    """A worker is stopped with a lease; another builds the copy without it and spends the rest. The
    first goes on, and admits nothing from what it held."""
    asked = Asker(await open_account(database, 2_000))
    words = [sys.executable, "-m", "tests.contract.lease_drawer", database, redis_url]
    process = await asyncio.create_subprocess_exec(
        *words, asked.account, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    client = RedisClient.from_url(redis_url)
    try:
        async with front(database, redis_url) as other, asyncio.timeout(3 * DEADLINE_S):
            assert await process.stdout.readline() == b"drawing\n"
            process.send_signal(signal.SIGSTOP)
            await client.delete(f"tk:{{{asked.account}}}")
            await until(lambda: asked.once(other))
            await asked.empty(other)
            process.send_signal(signal.SIGCONT)
            before, after = map(int, (await process.stdout.readline()).split())
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await client.aclose()
    assert after == 0
    assert before > 20
    assert len(asked.admitted) > 1_000


async def test_a_worker_whose_heartbeats_nobody_hears_draws_nothing(
    database: str, redis_url: str
) -> None:
    """It still reaches Redis, and has its lease found there; but whoever builds a copy does not
    wait for it, and together they admit the balance and no more."""
    asked = Asker(await open_account(database, 1_000))
    client = RedisClient.from_url(redis_url)
    async with front(database, redis_url) as silent, front(database, redis_url) as other:
        await asked.until_drawn(silent)
        await silent.halt("News.run", "Worker._beat", "Worker._hear")
        ends_s = time.monotonic() + SILENT_S
        while time.monotonic() < ends_s:
            await asked.once(silent, lease_only=len(asked.admitted) > 100)
            await asyncio.sleep(5 * POLL_S)
        await silent.halt("Journal.run")
        await client.delete(f"tk:{{{asked.account}}}")
        assert await asked.once(other)
        assert not [_ for _ in range(5) if await asked.once(silent, lease_only=True)]
        await asked.empty(other)
    await client.aclose()
    assert len(asked.admitted) == 1_000


async def test_a_worker_that_stops_gives_its_leases_back(database: str, hot_url: str) -> None:
    """What it was leased and did not use is there for others at once."""
    asked = Asker(await open_account(database, 300))
    async with front(database, hot_url) as other:
        async with front(database, hot_url) as leaving:
            await asked.until_drawn(leaving)
            assert await leases_of(other, asked.account) == 1
        assert await leases_of(other, asked.account) == 0
        hold, row = ask(asked.account, 300 - len(asked.admitted))
        answer = await other.reserver.reserve(hold, row, "closed")
    assert answer == Admitted(0)


async def test_draws_that_are_settled_before_they_are_told(database: str, hot_url: str) -> None:
    """Settlement is published before the hot copy hears of the request; told of it, the copy gives
    back what it held, and is what Postgres says."""
    asked = Asker(await open_account(database, 1_000), 2)
    async with (
        front(database, hot_url) as one,
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
    ):
        ledger = PostgresLedger(pool)
        await asked.until_drawn(one)
        await one.halt("Leases.run")
        await one.leases.tend()
        for _ in range(5):
            await asked.once(one)
        told = dict((await one.hot.read([asked.account]))[asked.account].pending)
        early = [hold for hold in asked.drawn if hold.reservation_id not in told]
        assert early
        now_us = int(time.time() * 1e6)
        batch = await ledger.settle([settlement(hold, 1) for hold in early], now_us)
        for _ in range(2):
            await one.hot.publish(batch.publications)
        await one.leases.give_back()
        await check_copy(one, pool, asked.account)
        rest = 1_000 - 2 * (len(asked.admitted) - len(early)) - len(early)
        answer = await one.reserver.reserve(*ask(asked.account, rest), "closed")
    assert answer == Admitted(0)


async def test_the_check_of_the_ledger_knows_leases(database: str, redis_url: str) -> None:
    """While leases are out, and with draws that nobody told of, the copy is as good as Postgres; a
    hold that no lease covers is found."""
    asked = Asker(await open_account(database, 1_000))
    async with (
        front(database, redis_url) as one,
        front(database, redis_url) as other,
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
    ):
        connection = await asyncpg.connect(database)

        async def pause(_seconds_s: float) -> None:
            await asyncio.sleep(0.05)

        async def proof() -> str:
            hot = Hot(other.hot, PostgresTruth(pool), time.time, pause)
            proof = await prove_hot(connection, hot, FULL_SPEED, lambda *_: None)
            return proof.broken_how

        await asked.until_drawn(one)
        assert not await proof()
        await one.halt("Leases.run", "Worker._hear")
        await asked.once(one)
        await one.journal.flush()
        assert await leases_of(one, asked.account) == 1
        assert not await proof()
        _, row = ask(asked.account, 900)
        other.journal.add(row)
        await other.journal.flush()
        assert "is pending in Postgres and not held in Redis" in await proof()
        await connection.close()


async def test_what_a_dead_worker_was_leased_is_held_for_a_life(
    database: str, redis_url: str
) -> None:
    """It may have admitted from it: the sweep leaves the lease until the life of a request and half
    a minute are over, then all of it can be had again."""
    asked = Asker(await open_account(database, 300))
    later_s = [0.0]
    async with (
        front(database, redis_url) as dead,
        front(database, redis_url) as other,
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
    ):
        sweep = Sweep(
            other.hot,
            PostgresStrays(pool),
            clock=lambda: time.time() + later_s[0],
            report=print,
            registry=CollectorRegistry(),
            limits=SweepLimits(breath_s=0.0),
        )
        await asked.until_drawn(dead)
        await dead.halt()
        await asked.empty(other)
        assert len(asked.admitted) < 300
        for later_s[0] in (0.0, LIFETIME_S - 5.0, LIFETIME_S + 20.0):
            assert await sweep.sweep() == 0
        assert await leases_of(other, asked.account) == 1
        later_s[0] = LIFETIME_S + 60.0
        await sweep.sweep()
        assert await leases_of(other, asked.account) == 0
        await dead.journal.flush()
        await asked.empty(other)
    assert len(asked.admitted) == 300


async def test_nothing_is_drawn_while_a_lease_is_closed(database: str, redis_url: str) -> None:
    """Redis has the lease no more before its worker hears so."""
    asked = Asker(await open_account(database, 300))
    async with (
        front(database, redis_url, store=SlowStore) as one,
        front(database, redis_url) as other,
    ):
        assert isinstance(one.hot, SlowStore)
        await asked.until_drawn(one)
        await one.halt("Leases.run")
        await one.leases.tend()
        assert await asked.once(one, lease_only=True)
        one.hot.slow = asyncio.Event()
        call = asyncio.create_task(one.leases.give_back())
        await until(partial(nothing_leased, other, asked.account))
        assert not await asked.once(one, lease_only=True)
        one.hot.slow.set()
        await call
        await asked.empty(other)
    assert len(asked.admitted) == 300


async def test_an_answer_from_before_a_barrier_lets_nobody_draw(
    database: str, redis_url: str
) -> None:
    """A call found the lease; before its worker hears so, the copy is lost and built by another."""
    asked = Asker(await open_account(database, 300))
    client = RedisClient.from_url(redis_url)
    async with (
        front(database, redis_url, store=SlowStore) as one,
        front(database, redis_url) as other,
    ):
        assert isinstance(one.hot, SlowStore)
        await asked.until_drawn(one)
        await one.halt("Leases.run")
        await one.leases.tend()
        await asked.until_drawn(one, 1)
        one.hot.slow = asyncio.Event()
        await asyncio.sleep(0.11)
        call = asyncio.create_task(one.leases.tend())
        await asyncio.sleep(0.02)
        await client.delete(f"tk:{{{asked.account}}}")
        assert await asked.once(other)
        one.hot.slow.set()
        await call
        assert not await asked.once(one, lease_only=True)
        await asked.empty(other)
    await client.aclose()
    assert len(asked.admitted) == 300
