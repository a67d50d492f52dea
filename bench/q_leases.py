"""What leases could save at most: the hot copy asked for each request, against never asked."""

from __future__ import annotations

import sys
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
NEVER = "never asked (a bound)"


async def ask(home: Path, pace: Pace) -> Answer:
    """Both front doors behind gateways of their own, in turns, busy and alone."""
    place = home / "leases"
    place.mkdir()
    async with AsyncExitStack() as exits:
        stage = await exits.enter_async_context(open_stage(place, beside=False))
        await _add_unbounded(stage, exits)
        cases = [
            Case(ASKED, "everything", "ping-inline"),
            Case(NEVER, "unbounded", "ping-inline"),
            Case(f"{ASKED}, one connection", "everything", "ping-inline", 1),
            Case(f"{NEVER}, one connection", "unbounded", "ping-inline", 1),
        ]
        rows = await take_turns(stage, cases, pace.rounds, pace.seconds)
    table = rows_table("The most that leases could save", list(rows.values()), rows[ASKED])
    return Answer("leases", [row.told() for row in rows.values()], table)


async def _add_unbounded(stage: Stage, exits: AsyncExitStack) -> None:
    where = Address(path=str(stage.home / "unbounded"))
    env = stage.stack.plan.env | {
        "TOLLKEEPER_AUTHZ_WORKERS": "1",
        "TOLLKEEPER_AUTHZ_LISTEN": str(where),
        "TOLLKEEPER_AUTHZ_METRICS_LISTEN": f"unix:{stage.home}/unbounded-pages",
    }
    argv = (sys.executable, "-m", "bench.lease_bound")
    pid = await start_process(stage, exits, "unbounded", Command(argv, env=env), where)
    bootstrap = gateways.full(stage.stack.config, stage.stack.settings)
    gateways.ask_at(bootstrap, AUTHZ_CLUSTER, where)
    own = {name: part.pid for name, part in stage.stack.parts.items() if name != "envoy"}
    await start_gateway(stage, exits, "unbounded", bootstrap, own | {"authz": pid}, settles=True)
