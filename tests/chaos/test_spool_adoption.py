"""A settler that never comes back: another one settles what it had spooled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from devstack import free_port
from tests.chaos.arena import Arena
from tests.chaos.pushing import count, expect_exact_books, push, told, until, until_ended
from tests.chaos.test_sink_faults import SPOOLED_S
from tollkeeper.settings import ENV_PREFIX
from tollkeeper.stack.roles import RolePart

pytestmark = pytest.mark.asyncio(loop_scope="session")


def second_sink(arena: Arena) -> RolePart:
    """A sink with its settler beside the stack's own, over the same root of spools."""
    name, stack = "accesslog-2", arena.stack
    listen, pages = (f"127.0.0.1:{free_port()}" for _ in range(2))
    env = {
        **stack.role_env(name),
        f"{ENV_PREFIX}ACCESSLOG_LISTEN": listen,
        f"{ENV_PREFIX}ACCESSLOG_METRICS_LISTEN": pages,
    }
    return RolePart(
        name,
        stack.home / "logs",
        ("tollkeeper.serve", "accesslog"),
        env,
        listen=listen,
        ready_url=f"http://{pages}/readyz",
    )


def spooled_bytes(arena: Arena, settler: str) -> int:
    """What a settler's segments hold, the settled entries of the last one included."""
    found = (arena.stack.home / "spool" / settler).glob("*.seg")
    return sum(path.stat().st_size for path in found)


async def test_what_a_dead_settler_left_is_settled_by_another(arena: Arena) -> None:
    """Entries lie in the second settler's spool because Postgres is away; it is killed for good.
    The first one settles all of them in time, without a replay, and removes its directory."""
    payer = await arena.open_payer("orphaned", 200, {"ping": 1})
    answers = await push(arena, payer, 100)  # now every worker knows the key
    await until_ended(arena, payer, "settled", 100)
    second = await second_sink(arena).start()
    left = arena.stack.home / "spool" / "settler-2"
    try:
        await arena.stack.middleman.turn_to(second.address)
        first_bytes = spooled_bytes(arena, "settler-1")
        with arena.stack.left_alone("postgres") as postgres:
            await postgres.kill()
            answers += await push(arena, payer, 30)
            assert told(answers) == {"200": 130}
            await asyncio.sleep(SPOOLED_S)
            assert spooled_bytes(arena, "settler-1") == first_bytes
            assert spooled_bytes(arena, "settler-2") > 0
            await second.kill()
            await arena.stack.middleman.turn_to(str(arena.stack.settings.accesslog_listen))
            await postgres.start()
        await until_ended(arena, payer, "settled", 130)
    finally:
        await second.stop()
        await arena.stack.middleman.turn_to(str(arena.stack.settings.accesslog_listen))
    assert await count(arena, payer, "late") == 0
    await until(lambda: gone(left), "its directory is gone")
    log = arena.stack.parts["accesslog"].log_path.read_text()
    assert "spool_adopted" in log
    assert "spool_removed" in log
    await expect_exact_books(arena, payer, answers)


async def gone(directory: Path) -> bool:
    return not await asyncio.to_thread(directory.exists)
