"""The faults, each a coroutine that breaks something and returns when it is no longer being broken.

What dies by a signal is started again by the stack's watch, as a supervisor would; Postgres and
Redis are started again by the fault itself. ``dice`` decides how long and how hard.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import wraps
from types import MappingProxyType
from typing import Any

import asyncpg
import psutil

from billing.stores.hot_layout import account_key
from devstack import Part
from devstack.resp import ask
from tests.chaos.arena import CLOCK_OFF_S, LIFETIME_S, Arena
from tests.chaos.commit_proxy import Cut
from tests.chaos.log_middleman import Mischief

Fault = Callable[[Arena, random.Random], Coroutine[Any, Any, None]]
PARTS_S = 30.0
DUMP = "dump.rdb"


def _one_at_a_time(server: str) -> Callable[[Fault], Fault]:
    """Faults of one server happen one after the other, even when both belong to one step: each
    needs it running."""

    def wrap(fault: Fault) -> Fault:
        @wraps(fault)
        async def alone(arena: Arena, dice: random.Random) -> None:
            async with arena.locks[server]:
                await fault(arena, dice)

        return alone

    return wrap


_redis, _postgres = _one_at_a_time("redis"), _one_at_a_time("postgres")


def _send(part: Part, number: int) -> None:
    """A signal to the whole part: some are several processes, in one group."""
    with suppress(ProcessLookupError):
        os.killpg(part.pid, number)


def _send_to_one(part: Part, number: int, dice: random.Random) -> None:
    """A signal to one of its processes: the others have to notice."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        first = psutil.Process(part.pid)
        os.kill(dice.choice([first, *first.children(recursive=True)]).pid, number)


async def _running(arena: Arena, name: str) -> Part:
    """A part that runs; whatever broke it before is over."""
    part = arena.stack.parts[name]
    async with asyncio.timeout(PARTS_S):
        while not part.running:
            await asyncio.sleep(0.05)
    return part


async def _stop_for(arena: Arena, name: str, seconds: float) -> None:
    part = await _running(arena, name)
    _send(part, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    _send(part, signal.SIGCONT)


def _worker(arena: Arena, dice: random.Random) -> str:
    return dice.choice([name for name in arena.stack.parts if name.startswith("authz")])


async def sink_killed(arena: Arena, dice: random.Random) -> None:
    """The sink with its settler dies at once."""
    del dice
    _send(await _running(arena, "accesslog"), signal.SIGKILL)


async def sink_stopped(arena: Arena, dice: random.Random) -> None:
    """The sink with its settler stands still and wakes up again: a zombie."""
    await _stop_for(arena, "accesslog", dice.uniform(0.5, 4.0))


async def worker_killed(arena: Arena, dice: random.Random) -> None:
    """One worker of the front door dies with what it has not journaled."""
    part = await _running(arena, _worker(arena, dice))
    arena.worker_kills_s.append(time.time())
    _send(part, signal.SIGKILL)


async def worker_halved(arena: Arena, dice: random.Random) -> None:
    """One process of a worker of the front door dies, and the rest of it is still there."""
    part = await _running(arena, _worker(arena, dice))
    arena.worker_kills_s.append(time.time())
    _send_to_one(part, signal.SIGKILL, dice)


async def worker_stopped(arena: Arena, dice: random.Random) -> None:
    """One worker of the front door stands still, past its heartbeat or not, and wakes up again."""
    await _stop_for(arena, _worker(arena, dice), dice.choice((0.5, 2.0, 5.0)))


@_redis
async def worker_stopped_over_flush(arena: Arena, dice: random.Random) -> None:
    """Copies are built anew while a worker that may have holds in its journal stands still."""
    name = _worker(arena, dice)
    part = await _running(arena, name)
    _send(part, signal.SIGSTOP)
    await ask(arena.redis.port, "FLUSHALL")
    await asyncio.sleep(dice.choice((1.0, 3.0, 5.0)))
    _send(part, signal.SIGCONT)


async def envoy_killed(arena: Arena, dice: random.Random) -> None:
    """Envoy dies with its requests, its entries not yet sent and its log not yet written."""
    del dice
    part = await _running(arena, "envoy")
    arena.envoy_kills_s.append(time.time())
    _send(part, signal.SIGKILL)


async def envoy_stopped(arena: Arena, dice: random.Random) -> None:
    """Envoy stands still: every deadline of its passes at once when it wakes up."""
    await _stop_for(arena, "envoy", dice.uniform(0.3, 2.0))


@_redis
async def redis_killed(arena: Arena, dice: random.Random) -> None:
    """Redis dies and comes back empty."""
    await _redis_anew(arena, dice.uniform(0.0, 2.0), keep_dump=False)


@_redis
async def redis_old_dump(arena: Arena, dice: random.Random) -> None:
    """Redis dies and comes back as it was some time before."""
    await ask(arena.redis.port, "SAVE")
    await asyncio.sleep(dice.uniform(0.5, 2.0))
    await _redis_anew(arena, dice.uniform(0.0, 1.0), keep_dump=True)


async def _redis_anew(arena: Arena, away_s: float, *, keep_dump: bool) -> None:
    with arena.stack.left_alone("redis") as part:
        await part.kill()
        if not keep_dump:
            (part.data_dir / DUMP).unlink(missing_ok=True)
        await asyncio.sleep(away_s)
        await part.start()


@_redis
async def redis_flushed(arena: Arena, dice: random.Random) -> None:
    """FLUSHALL, once or several times."""
    for _ in range(dice.choice((1, 1, 3))):
        await ask(arena.redis.port, "FLUSHALL")
        await asyncio.sleep(dice.uniform(0.0, 0.2))


@_redis
async def redis_evicted(arena: Arena, dice: random.Random) -> None:
    """The copy of one account goes, as an eviction would take it."""
    for _ in range(3):
        await ask(arena.redis.port, "DEL", account_key(dice.choice(list(arena.payers))))
        await asyncio.sleep(dice.uniform(0.0, 0.3))


@_redis
async def redis_stopped(arena: Arena, dice: random.Random) -> None:
    """Redis stands still: calls are sent, nobody answers, and later they are carried out."""
    await _stop_for(arena, "redis", dice.uniform(0.2, 2.5))


@_postgres
async def postgres_crashed(arena: Arena, dice: random.Random) -> None:
    """Postgres shuts down at once, without a checkpoint, and recovers."""
    with arena.stack.left_alone("postgres") as part:
        _send(part, signal.SIGQUIT)
        await part.wait()
        await asyncio.sleep(dice.choice((0.0, 0.5, 3.0)))
        await part.start()


@_postgres
async def postgres_away_long(arena: Arena, dice: random.Random) -> None:
    """Postgres is away for longer than reservations live."""
    with arena.stack.left_alone("postgres") as part:
        _send(part, signal.SIGQUIT)
        await part.wait()
        await asyncio.sleep(LIFETIME_S + dice.uniform(1.0, 2.0))
        await part.start()


@_postgres
async def sessions_ended(arena: Arena, dice: random.Random) -> None:
    """Every session of ours in Postgres is terminated."""
    for _ in range(dice.choice((1, 2))):
        connection = await asyncpg.connect(arena.dsn)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'tollkeeper%' AND pid <> pg_backend_pid()"
            )
        finally:
            await connection.close()
        await asyncio.sleep(dice.uniform(0.0, 0.3))


async def commit_cut(arena: Arena, dice: random.Random) -> None:
    """The settler's connection is cut around COMMIT: nobody knows whether it was done."""
    cuts: list[Cut] = dice.choices(("before", "after"), k=3)
    arena.stack.proxy.cuts += cuts
    async with asyncio.timeout(PARTS_S):
        while arena.stack.proxy.cuts:
            await asyncio.sleep(0.05)


async def spool_disk_full(arena: Arena, dice: random.Random) -> None:
    """The disk of the sink's spool takes no more: what is under way is cut off in its middle.

    The kernel's limit of a file's size does it for this one process, its log included.
    """
    part = await _running(arena, "accesslog")
    usual = resource.prlimit(part.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(part.pid, resource.RLIMIT_FSIZE, (dice.randrange(64, 4_096), usual[1]))
    try:
        await asyncio.sleep(dice.uniform(0.5, 3.0))
    finally:
        with suppress(ProcessLookupError):  # another fault may have killed it
            resource.prlimit(part.pid, resource.RLIMIT_FSIZE, usual)


async def clock_off(arena: Arena, dice: random.Random) -> None:
    """The clock of a worker or of the settler jumps by minutes, and back after some seconds."""
    name = dice.choice(("accesslog", _worker(arena, dice)))
    off_s = dice.uniform(120.0, CLOCK_OFF_S) * dice.choice((-1, 1))
    with arena.clocks_off({name: off_s}):
        await asyncio.sleep(dice.uniform(1.0, 4.0))


def _entries(mischief: Mischief, seconds: tuple[float, float], meaning: str) -> Fault:
    async def fault(arena: Arena, dice: random.Random) -> None:
        arena.stack.middleman.mischief = mischief
        await asyncio.sleep(dice.uniform(*seconds))
        if arena.stack.middleman.mischief == mischief:
            arena.stack.middleman.mischief = "none"

    fault.__doc__ = meaning
    return fault


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "sink_killed": sink_killed,
        "sink_stopped": sink_stopped,
        "worker_killed": worker_killed,
        "worker_halved": worker_halved,
        "worker_stopped": worker_stopped,
        "worker_stopped_over_flush": worker_stopped_over_flush,
        "envoy_killed": envoy_killed,
        "envoy_stopped": envoy_stopped,
        "redis_killed": redis_killed,
        "redis_old_dump": redis_old_dump,
        "redis_flushed": redis_flushed,
        "redis_evicted": redis_evicted,
        "redis_stopped": redis_stopped,
        "postgres_crashed": postgres_crashed,
        "postgres_away_long": postgres_away_long,
        "sessions_ended": sessions_ended,
        "commit_cut": commit_cut,
        "spool_disk_full": spool_disk_full,
        "clock_off": clock_off,
        "entries_doubled": _entries("double", (1.0, 2.0), "Every entry comes twice."),
        "entries_dropped": _entries("drop", (1.0, 2.0), "Half of the messages are lost."),
        "entries_reordered": _entries("reorder", (1.0, 2.0), "Entries come in any order."),
        "entries_delayed": _entries(
            "delay", (LIFETIME_S + 1.0, LIFETIME_S + 3.0), "Entries come after the expiry."
        ),
    }
)
"""Every kind of fault by its name."""
