"""Single faults while an account is spent from leases: it spends its balance, exactly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.chaos.arena import Arena
from tests.chaos.conftest import WORKERS
from tests.chaos.faults import FAULTS
from tests.chaos.lease_watch import leases_in_redis
from tests.chaos.pushing import expect_exact_books, passed, spend, told, until
from tests.chaos.traffic import Answer, Payer, ask, new_client

pytestmark = pytest.mark.asyncio(loop_scope="session")
COVERED = 1_000
CLIENTS = 40
REFUSED_PAUSE_S = 0.1
BROKEN = (
    "redis_flushed",
    "redis_killed",
    "redis_old_dump",
    "redis_stopped",
    "worker_killed",
    "worker_stopped",
    "worker_stopped_over_flush",
)


@asynccontextmanager
async def hammered(arena: Arena, payer: Payer) -> AsyncIterator[list[Answer]]:
    """Meanwhile clients ask one request after the other; what they heard."""
    answers: list[Answer] = []
    stop = asyncio.Event()

    async def keep_asking() -> None:
        async with new_client(arena.stack.gateway_url) as client:
            while not stop.is_set():
                answer = await ask(client, payer, "ping")
                answers.append(answer)
                if answer.status != httpx.codes.OK:
                    await asyncio.sleep(REFUSED_PAUSE_S)

    clients = [asyncio.create_task(keep_asking()) for _ in range(CLIENTS)]
    try:
        yield answers
    finally:
        stop.set()
        await asyncio.gather(*clients)
        arena.answers += answers


@pytest.mark.parametrize("name", BROKEN)
async def test_a_leased_balance_is_spent_exactly(arena: Arena, name: str) -> None:
    """All workers draw from leases of one account when the fault comes: no more than the balance
    passes, and when the dead have given back what they had, the rest does, to the last credit."""
    payer = await arena.open_payer(f"leased {name}", COVERED, {"ping": 1})
    account_id, drawn_before = payer.customer.account_id, arena.leases.seen["drawn"]

    async def leased() -> bool:
        redis_url = arena.stack.settings.require_redis_url()
        return len(await leases_in_redis(redis_url, [account_id])) == WORKERS

    async def run_out() -> bool:
        return told(answers[heard:])["402 insufficient_credits"] > 2 * CLIENTS

    async with hammered(arena, payer) as answers:
        await until(leased, "every worker has a lease")
        await FAULTS[name](arena, random.Random(name))
        heard = len(answers)
        await until(run_out, "the balance is spent")
    assert passed(answers) <= COVERED
    assert arena.leases.seen["drawn"] > drawn_before, "it was spent without leases"
    books = await expect_exact_books(arena, payer, answers)
    assert bool(books.left_leases) == (name == "worker_killed"), "only the dead leave any"
    await spend(arena, payer, answers, covered=COVERED)
    assert passed(answers) == COVERED
    await expect_exact_books(arena, payer, answers)
