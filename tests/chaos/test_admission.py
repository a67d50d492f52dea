"""2000 requests in flight at five workers against a balance for fewer, while parts of ours go."""

from __future__ import annotations

import asyncio
import random

import pytest

from devstack.resp import ask as ask_redis
from tests.chaos.arena import Arena
from tests.chaos.faults import redis_evicted, redis_killed, worker_killed, worker_stopped
from tests.chaos.pushing import expect_exact_books, passed, push, spend, told

pytestmark = pytest.mark.asyncio(loop_scope="session")
COVERED = 1_200
IN_FLIGHT = 2_000


async def test_no_more_than_the_balance_passes(arena: Arena) -> None:
    """While 2000 run, Redis is flushed, evicts, dies, a worker stops and one dies: 1200 pass at
    most, and the balance is short by exactly those that passed."""
    payer = await arena.open_payer("crowd", COVERED, {"ping": 1})
    dice = random.Random(5)
    pushing = asyncio.create_task(push(arena, payer, IN_FLIGHT, delay_ms=2_000))
    await asyncio.sleep(1.5)
    await ask_redis(arena.redis.port, "FLUSHALL")
    await redis_evicted(arena, dice)
    await worker_killed(arena, dice)
    await asyncio.gather(redis_killed(arena, dice), worker_stopped(arena, dice))
    answers = await pushing
    assert set(told(answers)) <= {
        "200",
        "402 insufficient_credits",
        "503 authorization_unavailable",
    }
    assert 0 < passed(answers) <= COVERED
    await expect_exact_books(arena, payer, answers)
    await spend(arena, payer, answers, covered=COVERED)
    assert passed(answers) == COVERED
    await expect_exact_books(arena, payer, answers)
