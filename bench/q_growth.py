"""How much the memory of a front door grows over a million checks."""

from __future__ import annotations

import time

from rich.table import Table

from bench.answers import Answer, Pace
from bench.cost import look
from bench.load import put_load
from bench.stage import Stage

CHECKS = 1_000_000
QUICK_CHECKS = 50_000
WARM_CHECKS = 50_000
"""Until then pools fill, and the collector of cycles has been round for the first time."""
LEG_S = 20.0
MIB = 2**20


async def ask(stage: Stage, pace: Pace) -> Answer:
    """Load it until it has answered so many, and look at its memory between the legs."""
    wanted = QUICK_CHECKS if pace.quick else CHECKS
    await _load(stage, WARM_CHECKS, 5.0)
    before = _memory_bytes(stage)
    table = Table(title="Memory of the front door", title_justify="left")
    for heading in ("checks", "MiB", "growth", "req/s"):
        table.add_column(heading, justify="right")
    done, rows, grown = 0, [], 0.0
    while done < wanted:
        began_s = time.monotonic()
        leg = await _load(stage, 1, 2.0 if pace.quick else LEG_S)
        done += leg
        now = _memory_bytes(stage)
        grown = (now / before - 1) * 100
        per_s = leg / (time.monotonic() - began_s)
        rows.append({"checks": done, "bytes": now, "growth_percent": grown})
        table.add_row(f"{done:,}", f"{now / MIB:,.1f}", f"{grown:+.2f} %", f"{per_s:,.0f}")
    figures = {} if pace.quick else {"growth_percent": grown}
    return Answer("growth", rows, table, figures)


async def _load(stage: Stage, checks: int, seconds: float) -> int:
    """Legs until so many were answered."""
    done = 0
    while done < checks:
        done += (await put_load(stage.target("everything", "ping-inline"), 64, seconds)).done
        await stage.until_settled(120)
    return done


def _memory_bytes(stage: Stage) -> int:
    pids = {"authz": stage.gateways["everything"].pids["authz"]}
    return look(pids).memory_bytes["authz"]
