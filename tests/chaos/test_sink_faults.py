"""Single faults of the sink and its settler, and of the stream between Envoy and it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chaos.arena import LIFETIME_S, Arena, open_arena
from tests.chaos.pushing import (
    count,
    expect_exact_books,
    passed,
    push,
    told,
    until,
    until_ended,
    until_well,
)
from tests.chaos.quiet import replay
from tests.chaos.traffic import Answer

pytestmark = pytest.mark.asyncio(loop_scope="session")
SPOOLED_S = 1.5
"""Envoy's buffer, the stream and the spool: by then an entry is on disk, on a busy machine too."""
SMALL_SPOOL_BYTES = 1 << 18


async def test_what_was_spooled_survives_a_kill(arena: Arena) -> None:
    """Entries lie on disk because Postgres is away; the sink is killed; the next one settles them
    without a replay."""
    payer = await arena.open_payer("spooled", 200, {"ping": 1})
    answers = await push(arena, payer, 100)  # now every worker knows the key
    await until_ended(arena, payer, "settled", 100)
    with arena.stack.left_alone("postgres") as postgres:
        await postgres.kill()
        answers += await push(arena, payer, 30)
        assert told(answers) == {"200": 130}
        await asyncio.sleep(SPOOLED_S)
        with arena.stack.left_alone("accesslog") as sink:
            await sink.kill()
            await postgres.start()
            await sink.start()
    await until_ended(arena, payer, "settled", 130)
    assert await count(arena, payer, "late") == 0
    await expect_exact_books(arena, payer, answers)


async def test_a_zombie_settles_nothing_twice(arena: Arena) -> None:
    """While the sink stands still a replay settles for it; what it has in hand when it wakes up
    is known."""
    payer = await arena.open_payer("zombie", 100, {"ping": 1})
    sink = arena.stack.parts["accesslog"]
    pushing = asyncio.create_task(push(arena, payer, 50, delay_ms=300))
    await asyncio.sleep(0.4)
    os.killpg(sink.pid, signal.SIGSTOP)
    try:
        answers = await pushing
        await asyncio.sleep(SPOOLED_S)
        said = await replay(arena)
        settled = await count(arena, payer, "settled")
    finally:
        os.killpg(sink.pid, signal.SIGCONT)
    assert passed(answers) == settled == 50
    assert said["clean"]
    await expect_exact_books(arena, payer, answers)


async def test_entries_that_come_after_the_expiry_are_late(arena: Arena) -> None:
    """Reservations expire because their entries are held up, and their credits are free again;
    then the entries come, and are charged after all."""
    payer = await arena.open_payer("late", 100, {"ping": 1})
    answers = await push(arena, payer, 10)
    await until_ended(arena, payer, "settled", 10)
    arena.stack.middleman.mischief = "delay"
    answers += await push(arena, payer, 20)
    await until_ended(arena, payer, "expired", 20)
    arena.stack.middleman.mischief = "none"
    took_s = await until_ended(arena, payer, "late", 20)
    assert took_s < LIFETIME_S
    await expect_exact_books(arena, payer, answers)


async def test_lost_entries_are_late_by_the_replay(arena: Arena) -> None:
    """Entries that never reach the sink expire, and the log file brings all of them."""
    payer = await arena.open_payer("lost", 100, {"ping": 1, "reported": 1})
    arena.stack.middleman.mischief = "drop"
    while not arena.stack.middleman.dropped:
        await push(arena, payer, 5)
        await asyncio.sleep(0.3)
    sent = [a for a in arena.answers if a.account_id == payer.customer.account_id]
    arena.stack.middleman.mischief = "none"
    await until_ended(arena, payer, "expired", 1)
    books = await expect_exact_books(arena, payer, sent)
    assert not books.lost
    assert await count(arena, payer, "late") >= 1


async def test_a_full_spool_is_heard_at_the_front_door(tmp_path: Path) -> None:
    """Postgres is away until the spool is full: the route that is closed then refuses, the other
    goes on and is marked, Envoy keeps what the sink cannot take. With Postgres back both answer,
    and everything is settled without a replay."""
    settings = {"spool_max_bytes": str(SMALL_SPOOL_BYTES)}
    async with open_arena(tmp_path, 3, lifetime_s=120, settings=settings) as small:
        await until_well(small)
        payer = await small.open_payer("full", 10_000, {"ping": 1, "spare": 1})
        answers = await push(small, payer, 50)
        refused: list[Answer] = []

        async def closes() -> bool:
            answers.extend(await push(small, payer, 100))
            refused.extend(await push(small, payer, 1, kind="spare"))
            return not passed(refused[-1:])

        async def opens() -> bool:
            answers.extend(await push(small, payer, 1, kind="spare"))
            return passed(answers[-1:]) == 1

        with small.stack.left_alone("postgres") as postgres:
            await postgres.kill()
            await until(closes, "the closed route refuses", 60.0)
            # What comes next may be larger than what is left: a message holds many entries.
            assert held_bytes(small) > SMALL_SPOOL_BYTES // 2
            refused += await push(small, payer, 20, kind="spare")
            for _ in range(3):
                answers += await push(small, payer, 100)
            assert await marked(small, "ping") > 0
            await asyncio.sleep(SPOOLED_S)
            await postgres.start()
        await until(opens, "the closed route answers again")
        assert set(told(refused)) == {"200", "503 authorization_unavailable"}
        pings = [answer for answer in answers if answer.kind == "ping"]
        assert passed(pings) == len(pings)
        answers += refused
        await until_ended(small, payer, "settled", passed(answers))
        await expect_exact_books(small, payer, answers)


def held_bytes(arena: Arena) -> int:
    """What the sink's spool has on disk."""
    spool = arena.stack.home / "spool" / "settler-1"
    return sum(file.stat().st_size for file in spool.glob("*.seg"))


async def marked(arena: Arena, route: str) -> float:
    """How many requests of a route all workers let pass although a spool was full."""
    pages = arena.stack.settings.authz_metrics_addresses
    found = 0.0
    async with httpx.AsyncClient() as client:
        for address in pages:
            text = (await client.get(f"http://{address}/metrics")).text
            found += sum(
                sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "tollkeeper_spool_full_requests_total"
                and sample.labels["route"] == route
            )
    return found
