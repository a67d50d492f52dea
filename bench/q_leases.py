"""What leases save, and what they could save at most: the hot copy asked for each request, the
product with its leases, and a front door that never asks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from bench import gateways
from bench.answers import Answer, Pace, rows_table
from bench.rounds import Case, take_turns
from bench.stage import Stage, open_stage, start_gateway, start_process
from devstack import Command
from tollkeeper.addresses import Address
from tollkeeper.envoy_render.vocabulary import AUTHZ_CLUSTER

ASKED = "hot copy asked"
LEASED = "leases"
NEVER = "never asked (a bound)"


async def ask(home: Path, pace: Pace) -> Answer:
    """All three front doors behind gateways of their own, in turns, busy and alone."""
    place = home / "leases"
    place.mkdir()
    async with AsyncExitStack() as exits:
        stage = await exits.enter_async_context(open_stage(place, beside=False))
        asking = ("tollkeeper.serve", "authz", "0")
        await _add(stage, exits, "asking", asking, {"TOLLKEEPER_LEASE_REQUESTS": "0"})
        await _add(stage, exits, "unbounded", ("bench.lease_bound",), {})
        cases = [
            Case(f"{name}{suffix}", gateway, "ping-inline", connections)
            for suffix, connections in (("", 64), (", one connection", 1))
            for name, gateway in ((ASKED, "asking"), (LEASED, "everything"), (NEVER, "unbounded"))
        ]
        rows = await take_turns(stage, cases, pace.rounds, pace.seconds)
    table = rows_table("What leases save", list(rows.values()), rows[ASKED])
    return Answer("leases", [row.told() for row in rows.values()], table)


async def _add(
    stage: Stage, exits: AsyncExitStack, name: str, module: Sequence[str], env: Mapping[str, str]
) -> None:
    """One more front door, and a gateway that asks it."""
    where = Address(path=str(stage.home / name))
    own = {
        "TOLLKEEPER_AUTHZ_WORKERS": "1",
        "TOLLKEEPER_AUTHZ_LISTEN": str(where),
        "TOLLKEEPER_AUTHZ_METRICS_LISTEN": f"unix:{stage.home}/{name}-pages",
    }
    command = Command((sys.executable, "-m", *module), env={**stage.stack.plan.env, **own, **env})
    pid = await start_process(stage, exits, name, command, where)
    bootstrap = gateways.full(stage.stack.config, stage.stack.settings)
    gateways.ask_at(bootstrap, AUTHZ_CLUSTER, where)
    pids = {name: part.pid for name, part in stage.stack.parts.items() if name != "envoy"}
    await start_gateway(stage, exits, name, bootstrap, pids | {"authz": pid}, settles=True)
