"""What a request waits more than through Envoy alone: unloaded, and at 1 000 requests a second.

Both gateways are asked in turns: over one connection, request after request; then in an open loop,
at the same rates. At 40 requests a second idle cores have to be woken for each, which is what
counts there. What is added is the difference of the medians, and of the 99th percentiles.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from asyncio.subprocess import PIPE
from typing import Any

from rich.table import Table

from bench.answers import Answer, Pace
from bench.load import Target, put_load
from bench.stage import Stage

RATES = {40: "at 40 req/s", 1_000: "at 1 000 req/s"}
ONE = "one connection"
Told = dict[str, Any]


async def ask(stage: Stage, pace: Pace) -> Answer:
    """One connection, and both rates, for both gateways."""
    seconds, rounds = (3, 1) if pace.quick else (8, 2)
    table = Table(title="Latency, ms", title_justify="left")
    for heading in ("", "p50", "p99", "added p50", "added p99", "generator late p99"):
        table.add_column(heading, justify="left" if not heading else "right")
    rows: list[Told] = []
    figures: dict[str, float] = {}
    for rate in (0, *RATES):
        name = RATES.get(rate, ONE)
        alone, ours = await _both(stage, rate, seconds, rounds)
        added = {part: ours[part] - alone[part] for part in ("p50_ms", "p99_ms")}
        rows.append({"name": name, "rate": rate, "alone": alone, "everything": ours, **added})
        _show(table, f"Envoy alone, {name}", alone, {})
        _show(table, f"everything, {name}", ours, added)
        at = f"_at_{rate}" if rate else ""
        figures |= {f"added_{part}{at}": value for part, value in added.items()}
    return Answer("latency", rows, table, figures)


async def _both(stage: Stage, rate: int, seconds: float, rounds: int) -> tuple[Told, Told]:
    targets = (stage.target("alone"), stage.target("everything", "ping-inline"))
    found: tuple[list[Told], list[Told]] = ([], [])
    for _ in range(rounds):
        for target, rounds_of_it in zip(targets, found, strict=True):
            loading = open_loop(target, rate, seconds) if rate else closed_loop(target, seconds)
            rounds_of_it.append(await loading)
            await stage.until_settled()
    return _median(found[0]), _median(found[1])


async def closed_loop(target: Target, seconds: float) -> Told:
    """One connection, each request after the answer to the last."""
    load = await put_load(target, 1, seconds)
    return {"p50_ms": load.p50_ms, "p99_ms": load.p99_ms, "generator_late_p99_ms": 0.0}


async def open_loop(target: Target, rate: float, seconds: float) -> Told:
    """One run of :mod:`bench.open_loop`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.open_loop", target.url, str(rate), str(seconds)),
        *target.arguments(),
        stdout=PIPE,
        stderr=PIPE,
    )
    told, complaint = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(complaint.decode())
    found: Told = json.loads(told)
    return found


def _median(rounds: list[Told]) -> Told:
    return {name: statistics.median(round_[name] for round_ in rounds) for name in rounds[0]}


def _show(table: Table, name: str, found: Told, added: dict[str, float]) -> None:
    more = [f"{added[part]:+.2f}" if added else "" for part in ("p50_ms", "p99_ms")]
    plain = [f"{found[part]:.2f}" for part in ("p50_ms", "p99_ms")]
    table.add_row(name, *plain, *more, f"{found['generator_late_p99_ms']:.2f}")
