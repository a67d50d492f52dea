"""Single faults of Redis, step by step: what a client is told, what passes, what the books say."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from billing.stores.hot_layout import account_key
from devstack.resp import ask as ask_redis
from tests.chaos.arena import CREDIT, Arena
from tests.chaos.faults import DUMP
from tests.chaos.pushing import expect_exact_books, passed, push, spend, told, until_ended

LEASES_STAND_S = 0.5
"""A lease may be drawn from for 0.4 s after the last call that found it."""
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_flush_in_the_middle_frees_no_credit(arena: Arena) -> None:
    """40 of 50 credits are held when Redis is flushed: the rest passes, and not one besides."""
    payer = await arena.open_payer("flushed", 50, {"ping": 1})
    holding = asyncio.create_task(push(arena, payer, 40, delay_ms=2_000))
    await asyncio.sleep(1.0)
    await ask_redis(arena.redis.port, "FLUSHALL")
    more = await push(arena, payer, 40)
    held = await holding
    assert passed(held) >= 20, told(held)
    free = 50 - passed(held)  # ten, unless a worker that just lost Postgres did not know the key
    assert told(more) == {"200": free, "402 insufficient_credits": 40 - free}
    await expect_exact_books(arena, payer, held + more)


async def test_an_evicted_copy_frees_no_credit(arena: Arena) -> None:
    """The same when the copy of this one account is gone."""
    payer = await arena.open_payer("evicted", 50, {"ping": 1})
    holding = asyncio.create_task(push(arena, payer, 40, delay_ms=2_000))
    await asyncio.sleep(1.0)
    await ask_redis(arena.redis.port, "DEL", account_key(payer.customer.account_id))
    more = await push(arena, payer, 40)
    held = await holding
    assert passed(held) >= 20, told(held)
    assert passed(more) == 50 - passed(held)
    await expect_exact_books(arena, payer, held + more)


async def test_an_old_dump_is_not_believed(arena: Arena) -> None:
    """Redis comes back from a dump in which 30 spent credits were still there: nobody gets them."""
    payer = await arena.open_payer("dumped", 40, {"ping": 1})
    answers = await push(arena, payer, 1)
    await until_ended(arena, payer, "settled", 1)
    await ask_redis(arena.redis.port, "SAVE")
    answers += await push(arena, payer, 30)
    await until_ended(arena, payer, "settled", 31)
    with arena.stack.left_alone("redis") as part:
        await part.kill()
        await part.start()
        (part.data_dir / DUMP).unlink()
    await spend(arena, payer, answers, covered=40)
    assert passed(answers) == 40
    await expect_exact_books(arena, payer, answers)


async def test_without_redis_each_route_does_as_declared(arena: Arena) -> None:
    """While Redis is away the closed route answers 503 at once, when no lease is sure any more;
    the other goes on from a bounded allowance and then refuses; afterwards all of it counts."""
    payer = await arena.open_payer("alone", 400, {"ping": 1, "spare": 1})
    answers = await push(arena, payer, 100)
    assert passed(answers) == 100
    with arena.stack.left_alone("redis") as part:
        await part.kill()
        await asyncio.sleep(LEASES_STAND_S)
        closed = await push(arena, payer, 20)
        spare = await push(arena, payer, 350, kind="spare")
        await part.start()
    assert told(closed) == {"503 authorization_unavailable": 20}
    assert max(answer.took_s for answer in closed) < 2.0
    # Each worker that saw the balance lets an eighth of it pass, so all five less than the whole.
    assert 0 < passed(spare) <= 5 * 400 // 8
    assert set(told(spare)) == {"200", "402 insufficient_credits"}
    answers += closed + spare
    await spend(arena, payer, answers, covered=400)
    assert passed(answers) == 400
    await expect_exact_books(arena, payer, answers)


async def test_a_redis_that_stands_still_holds_nobody_up(arena: Arena) -> None:
    """While Redis is stopped a closed route is refused within Envoy's patience; what Redis carries
    out afterwards, for requests that never ran, is given back."""
    payer = await arena.open_payer("still", 30, {"ping": 1})
    answers = await push(arena, payer, 5)
    os.killpg(arena.redis.pid, signal.SIGSTOP)
    try:
        refused = await push(arena, payer, 20)
    finally:
        os.killpg(arena.redis.pid, signal.SIGCONT)
    assert told(refused) == {"503 authorization_unavailable": 20}
    assert max(answer.took_s for answer in refused) < 3.0
    books = await expect_exact_books(arena, payer, answers + refused)
    assert books.posted[payer.customer.account_id] == 25 * CREDIT
    answers += refused
    await spend(arena, payer, answers, covered=30)
    assert passed(answers) == 30
    await expect_exact_books(arena, payer, answers)
