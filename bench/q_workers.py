"""One, two and four workers of the front door behind one gateway."""

from __future__ import annotations

from pathlib import Path

from bench.answers import Answer, Pace, rows_table
from bench.rounds import Case, Row, take_turns
from bench.stage import open_stage

WORKERS = (1, 2, 4)


async def ask(home: Path, pace: Pace) -> Answer:
    """A stack for each number, one after the other: they would take each other's cores."""
    rows: list[Row] = []
    for workers in (1, 2) if pace.quick else WORKERS:
        place = home / f"workers-{workers}"
        place.mkdir()
        async with open_stage(place, workers=workers, beside=False) as stage:
            name = f"{workers} worker{'s' if workers > 1 else ''}"
            cases = [Case(name, "everything", "ping-inline")]
            found = await take_turns(stage, cases, 2, pace.seconds)
            rows += found.values()
    table = rows_table("Workers, everything on", rows, rows[0])
    return Answer("workers", [row.told() for row in rows], table)
