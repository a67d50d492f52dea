"""The questions that have runners of their own: settlement, and the rate limit alone."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.answers import Answer, Pace

TIMEOUT_S = 240


async def settlement(home: Path, pace: Pace) -> Answer:
    """From the stream to COMMIT, by one settler."""
    path = home / "settlement.json"
    requests, rounds = ("20000", "1") if pace.quick else ("60000", "2")
    await _run("bench.settlement", "--requests", requests, "--rounds", rounds, "--json", str(path))
    told = json.loads(path.read_text())
    table = Table(title="Settlement, stream to COMMIT, one settler", title_justify="left")
    table.add_column("")
    table.add_column("per second", justify="right")
    rates = {name: row["per_s"] for name, row in told["cases"].items() if "per_s" in row}
    for name, per_s in rates.items():
        table.add_row(name, f"{per_s:,.0f}")
    return Answer("settlement", [told], table, {"settled_per_s": next(iter(rates.values()))})


async def rate_limit(_home: Path, pace: Pace) -> Answer:
    """The rate-limit service by itself."""
    seconds, rounds = ("1", "1") if pace.quick else ("2", "2")
    out = await _run("bench.ratelimit", "--seconds", seconds, "--rounds", rounds, "--json")
    told: dict[str, dict[str, Any]] = json.loads(out.splitlines()[-1])
    table = Table(title="Rate limit alone (grpc.aio)", title_justify="left")
    for heading in ("", "per second", "p50 ms", "p99 ms", "CPU us"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in told.items():
        rest = (f"{row[column]:.2f}" for column in ("p50_ms", "p99_ms", "cpu_us"))
        table.add_row(name, f"{row['per_s']:,.0f}", *rest)
    return Answer("rate limit", [{"name": name, **row} for name, row in told.items()], table)


async def _run(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(TIMEOUT_S):
        told, complaint = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{arguments[0]}: {complaint.decode()[-2_000:]}")
    return told.decode()
