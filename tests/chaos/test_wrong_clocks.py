"""Roles whose wall clock is off by minutes, as they run: what they say of time is wrong, and every
request is charged once all the same."""

from __future__ import annotations

import time

import asyncpg
import pytest

from tests.chaos.arena import Arena
from tests.chaos.pushing import expect_exact_books, passed, push, until
from tests.chaos.traffic import ALL_KINDS, Answer, Payer, ask, new_client

pytestmark = pytest.mark.asyncio(loop_scope="session")
OFF_S = 300.0
US_PER_S = 10**6


async def admitted_off_s(arena: Arena, payer: Payer) -> list[float]:
    """By how much the clocks were off that this payer's requests were admitted by."""
    connection = await asyncpg.connect(arena.dsn)
    try:
        rows = await connection.fetch(
            "SELECT admitted_us FROM reservations WHERE account_id = $1", payer.customer.account_id
        )
    finally:
        await connection.close()
    return [row["admitted_us"] / US_PER_S - time.time() for row in rows]


async def charged(arena: Arena, payer: Payer) -> int:
    """How many of a payer's requests were charged, in time or late."""
    connection = await asyncpg.connect(arena.dsn)
    try:
        found = await connection.fetchval(
            "SELECT count(*) FROM usage_events WHERE account_id = $1", payer.customer.account_id
        )
    finally:
        await connection.close()
    return int(found)


async def one_of_each(arena: Arena, payer: Payer) -> list[Answer]:
    async with new_client(arena.stack.gateway_url) as client:
        answers = [await ask(client, payer, kind) for kind in ALL_KINDS]
    arena.answers += answers
    return answers


@pytest.mark.parametrize("settler_off_s", [-OFF_S, OFF_S])
async def test_clocks_that_are_minutes_off_charge_once(arena: Arena, settler_off_s: float) -> None:
    """Two workers are five minutes behind and ahead, three are right, and so is, one after the
    other, the settler: requests of every meter pass, each is charged once, without a replay."""
    payer = await arena.open_payer(f"clocks {settler_off_s}", 100_000, ALL_KINDS)
    off_s = {"authz": -OFF_S, "authz-1": OFF_S, "accesslog": settler_off_s}
    with arena.clocks_off(off_s):
        answers = await push(arena, payer, 60)
        for _ in range(3):
            answers += await one_of_each(arena, payer)
        assert passed(answers) == len(answers)

        async def all_charged() -> bool:
            return await charged(arena, payer) == len(answers)

        await until(all_charged, "all are charged while the clocks are off")
        found_s = await admitted_off_s(arena, payer)
    assert min(found_s) < -OFF_S + 60 < OFF_S - 60 < max(found_s), "two clocks were off"
    await expect_exact_books(arena, payer, answers)


async def test_a_settler_that_is_ahead_frees_no_credit_twice(arena: Arena) -> None:
    """It expires what is under way, so the credits can be spent again; what then comes is charged
    all the same, and the balance says so."""
    payer = await arena.open_payer("ahead", 30, {"ping": 1})
    with arena.clocks_off({"accesslog": OFF_S}):
        answers = await push(arena, payer, 30, delay_ms=3_000)
    assert passed(answers) == 30
    books = await expect_exact_books(arena, payer, answers)
    account_id = payer.customer.account_id
    states = {r["state"] for r in books.reservations.values() if r["account_id"] == account_id}
    assert states == {"late"}, "each was expired before its answer"
    assert books.posted[account_id] == 0
