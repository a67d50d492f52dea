"""Single faults of Postgres: known keys go on, entries wait on disk, each is charged once."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.chaos.arena import LIFETIME_S, Arena
from tests.chaos.commit_proxy import Cut
from tests.chaos.faults import postgres_away_long, postgres_crashed, sessions_ended
from tests.chaos.pushing import count, expect_exact_books, passed, push, told, until_ended

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_crash_is_not_seen_by_known_keys(arena: Arena) -> None:
    """Shut down at once and recovered: every request passes, and all is settled soon after."""
    payer = await arena.open_payer("crashed", 500, {"ping": 1})
    answers = await push(arena, payer, 100)  # now every worker knows the key
    crash = asyncio.create_task(postgres_crashed(arena, random.Random(1)))
    while not crash.done():
        answers += await push(arena, payer, 5)
        await asyncio.sleep(0.2)
    await crash
    assert set(told(answers)) == {"200"}
    assert await until_ended(arena, payer, "settled", len(answers)) < 10.0
    await expect_exact_books(arena, payer, answers)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_connection_cut_around_commit_charges_once(arena: Arena, cut: Cut) -> None:
    """Whether the server did it or not: the settler finds out, and every request is charged
    once, without a replay."""
    proxy = arena.stack.proxy
    payer = await arena.open_payer(f"cut {cut}", 100, {"ping": 1})
    before = len(proxy.done)
    proxy.cuts += [cut, cut]
    answers = await push(arena, payer, 20)
    while proxy.cuts:
        answers += await push(arena, payer, 2)
        await asyncio.sleep(0.2)
    await until_ended(arena, payer, "settled", len(answers))
    assert passed(answers) == len(answers)
    assert proxy.done[before:] == [cut, cut]
    await expect_exact_books(arena, payer, answers)


async def test_terminated_sessions_are_replaced(arena: Arena) -> None:
    """Every session of every role is ended, again and again: nobody is refused."""
    payer = await arena.open_payer("terminated", 300, {"ping": 1})
    answers = []
    for seed in range(4):
        answers += await push(arena, payer, 20)
        await sessions_ended(arena, random.Random(seed))
    answers += await push(arena, payer, 20)
    assert told(answers) == {"200": 100}
    await until_ended(arena, payer, "settled", 100)
    await expect_exact_books(arena, payer, answers)


async def test_entries_that_waited_on_disk_are_not_late(arena: Arena) -> None:
    """Postgres is away for longer than reservations live. Their entries came in time and waited
    in the spool, so none of them expires."""
    payer = await arena.open_payer("waiting", 200, {"ping": 1})
    answers = await push(arena, payer, 100)  # now every worker knows the key
    away = asyncio.create_task(postgres_away_long(arena, random.Random(2)))
    await asyncio.sleep(LIFETIME_S / 6)
    answers += await push(arena, payer, 40)
    await away
    await until_ended(arena, payer, "settled", passed(answers))
    assert passed(answers) == 140
    assert await count(arena, payer, "late") == 0
    await expect_exact_books(arena, payer, answers)
