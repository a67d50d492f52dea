"""``make bench-peers``: everything on beside what others offer, in one run.

    python -m bench peers [--quick]

A peer whose toolchain is not here is skipped, and said so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from bench.answers import FULL, QUICK, Pace, rows_table
from bench.machine import describe, pace_ms
from bench.peers.build import PeerMissing
from bench.peers.cast import (
    GO,
    GO_AND_RATELIMIT,
    LITELLM,
    add_go,
    add_go_and_ratelimit,
    add_litellm,
)
from bench.rounds import Case, Row, take_turns
from bench.run import RESULTS
from bench.stage import Stage, open_stage
from bench.targets import targets_table
from devstack import PartFailed

PLACE = Path(".run/peers")
OURS, OUR_CHAT = "everything, limit inline", "everything, chat"
Adding = Callable[[Stage, AsyncExitStack, Path], Awaitable[None]]
CAST: dict[str, Adding] = {
    GO: add_go,
    GO_AND_RATELIMIT: add_go_and_ratelimit,
    LITELLM: add_litellm,
}
NOT_TO_BE_HAD = {
    "Limitador": "its server is in no package index",
    "opa-envoy-plugin": "no version of it is in Go's module proxy",
}
SLOW_CONNECTIONS = 32


async def run(console: Console, pace: Pace, place: Path) -> tuple[dict[str, Row], dict[str, float]]:
    """Everybody who can be had, in turns."""
    for name, why in NOT_TO_BE_HAD.items():
        console.print(f"[yellow]skipped: {name}: {why}[/yellow]")
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        async with open_stage(Path(home)) as stage, AsyncExitStack() as exits:
            for name, add in CAST.items():
                console.print(f"[dim]{name}: building and starting[/dim]")
                try:
                    await add(stage, exits, place)
                except (PeerMissing, PartFailed, TimeoutError) as missing:
                    console.print(f"[yellow]skipped: {name}: {missing}[/yellow]")
            rows = await take_turns(stage, _cases(stage), pace.rounds, pace.seconds)
    return rows, _figures(rows)


def _cases(stage: Stage) -> list[Case]:
    cases = [
        Case("Envoy alone", "alone"),
        *(Case(name, name) for name in (GO, GO_AND_RATELIMIT) if name in stage.gateways),
        Case(OURS, "everything", "ping-inline"),
        Case("everything, limit by service", "everything"),
    ]
    if LITELLM in stage.gateways:
        key = stage.home / "litellm-key"
        cases += [
            Case(OUR_CHAT, "everything", "chat-inline"),
            Case(LITELLM, LITELLM, "chat", SLOW_CONNECTIONS, key),
        ]
    return cases


def _figures(rows: dict[str, Row]) -> dict[str, float]:
    ours = rows[OURS].per_s
    figures = {"everything_over_alone": ours / rows["Envoy alone"].per_s}
    if GO in rows:
        figures["everything_over_go"] = ours / rows[GO].per_s
    if GO_AND_RATELIMIT in rows:
        figures["everything_over_go_and_ratelimit"] = ours / rows[GO_AND_RATELIMIT].per_s
    if LITELLM in rows:
        figures["everything_over_litellm"] = rows[OUR_CHAT].per_s / rows[LITELLM].per_s
    return figures


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    chosen = parser.parse_args()
    console, machine = Console(width=140), describe() | {"pace_ms": pace_ms()}
    place = PLACE.absolute()
    place.mkdir(parents=True, exist_ok=True)
    rows, figures = asyncio.run(run(console, QUICK if chosen.quick else FULL, place))
    console.print(rows_table("Beside the peers", list(rows.values()), rows["Envoy alone"]))
    console.print(targets_table(figures))
    folder = RESULTS / "local" if chosen.quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "peers.json"
    told = {"machine": machine, "figures": figures, "rows": [row.told() for row in rows.values()]}
    path.write_text(json.dumps(told, indent=1) + "\n")
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
