"""Making a stack quiet: what the stream lost is replayed, and everything comes to its end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from accesslog.assembly import Desk
from accesslog.replay import replay_files
from accesslog.settings import ReplaySettings
from billing.offered import Offered
from billing.stores.postgres_strays import PostgresStrays
from billing.sweep import Sweep, SweepLimits
from tests.chaos.arena import CLOCK_OFF_S, Arena
from tests.chaos.lease_watch import leases_in_redis
from tollkeeper.config import compile_catalog, load_config
from tollkeeper.wiring.accesslog import open_office
from tollkeeper.wiring.servers import open_servers

QUIET_TIMEOUT_S = 90.0
PATIENCE_S = 10.0
"""With Redis, of those who only look: the deadlines of checks are no claim of theirs."""
LIVES_ON_S = 20.0
"""By then every reservation has ended that was made by a right clock."""
LOG_WRITTEN_S = 0.5
"""Envoy writes its log file every 0.2 s."""
LOOKER = "00000000-0000-0000-0000-0000000000c4"
SWEEPER = "00000000-0000-0000-0000-0000000000c5"
REPLAYER = "00000000-0000-0000-0000-0000000000c7"
LET_GO_S = 10.0
"""A worker closes a lease that nobody draws from within half a second, once it runs again."""
Replaying = Callable[[Arena], Awaitable[dict[str, Any]]]
Left = Sequence[tuple[str, str]]


async def replay(arena: Arena, *paths: Path) -> dict[str, Any]:
    """``tollkeeper replay`` of Envoy's log file, as an operator would."""
    program = Path(sys.executable).with_name("tollkeeper")
    files = paths or (arena.stack.settings.envoy_access_log_file,)
    process = await asyncio.create_subprocess_exec(
        *(str(program), "replay", *map(str, files), "--json"),
        env={**os.environ, **arena.stack.plan.env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if not out:
        raise AssertionError(f"replay said nothing: {err.decode()[-2000:]}")
    found: dict[str, Any] = json.loads(out)
    return found


async def replay_here(arena: Arena) -> dict[str, Any]:
    """The same without a process of its own, which takes longer to start than to replay.

    What nobody told Redis yet, payments by the harness among it, is told at once: a settler gives
    whoever wrote it five seconds.
    """
    settings = arena.stack.settings
    catalog = compile_catalog(load_config(settings.config_file, settings), {})
    offered = Offered(catalog, time.monotonic)
    async with open_servers(settings, REPLAYER, PATIENCE_S) as servers:
        desk = open_office(settings, servers, offered, CollectorRegistry(), print)
        report = await replay_files(
            [settings.envoy_access_log_file],
            judge=desk.judge,
            settler=desk.settler,
            usage_headers=desk.settings.judge.usage_headers,
            settings=ReplaySettings(),
        )
        publish = replace(desk.settings.publish, promise_age_s=0.0)
        await Desk(desk.around, replace(desk.settings, publish=publish)).publisher.keep_promises()
    return {"clean": report.is_clean, "files": report.files}


async def let_go(arena: Arena) -> Left:
    """Wait until no worker has a lease; returns what Redis holds for leases then, those of workers
    that died: account, and what is left as a record."""
    began_s = time.monotonic()
    await arena.leases.look()
    while not arena.leases.all_let_go:
        if time.monotonic() - began_s > LET_GO_S:
            raise AssertionError(f"leases after {LET_GO_S} s: {arena.leases.standing}")
        await asyncio.sleep(0.1)
        await arena.leases.look()
    return await leases_in_redis(arena.stack.settings.require_redis_url(), list(arena.payers))


async def quieten(arena: Arena, replaying: Replaying) -> dict[str, Any]:
    """Replay, end what is stray, leases of dead workers among it, and wait until nothing is pending
    and everything is told.

    What a worker held whose clock was ahead lives on for minutes: when the others have had time to
    end, the settler's clock is put on.
    """
    await asyncio.sleep(LOG_WRITTEN_S)
    said = await replaying(arena)
    began_s = time.monotonic()
    ahead_s = 0.0
    with arena.clocks_off({"accesslog": 0.0}):
        while left := await _left(arena):
            waited_s = time.monotonic() - began_s
            if waited_s > QUIET_TIMEOUT_S:
                raise AssertionError(f"not quiet after {QUIET_TIMEOUT_S} s: {left}")
            if waited_s > LIVES_ON_S and not ahead_s:
                ahead_s = CLOCK_OFF_S + LIVES_ON_S
                arena.stack.put_clock_off("accesslog", ahead_s)
            await _sweep(arena, ahead_s)
            await asyncio.sleep(0.2)
    return said


async def _left(arena: Arena) -> str:
    """What is not over yet: pending reservations, untold promises, holds that live in Redis."""
    settings = arena.stack.settings
    async with open_servers(settings, LOOKER, PATIENCE_S) as at:
        pending = await at.pool.fetchval("SELECT count(*) FROM reservations WHERE state='pending'")
        untold = await at.pool.fetchval("SELECT count(*) FROM unpublished")
        copies = await at.hot.read(list(arena.payers))
    held = sum(len(copy.pending) for copy in copies.values())
    leased = sum(len(copy.leases) for copy in copies.values())
    if not (pending or untold or held or leased):
        return ""
    return f"{pending=} {untold=} {held=} {leased=}"


async def _sweep(arena: Arena, ahead_s: float) -> None:
    """The sink's own sweep, which otherwise comes every five minutes."""
    settings = arena.stack.settings
    async with open_servers(settings, SWEEPER, PATIENCE_S) as at:
        sweep = Sweep(
            at.hot,
            PostgresStrays(at.pool),
            clock=lambda: time.time() + ahead_s,
            report=print,
            registry=CollectorRegistry(),
            limits=SweepLimits(grace_s=2.0),
        )
        await sweep.sweep()
