"""Throughput and p99 by concurrency; this is what the plot shows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench.answers import Answer, Pace
from bench.rounds import Case, Row, take_turns
from bench.stage import DO_NOTHING, Stage

CONNECTIONS = (1, 8, 64, 256)


async def ask(stage: Stage, pace: Pace) -> Answer:
    """The main gateways at every number of connections."""
    gateways = {"Envoy alone": ("alone", "ping"), "everything": ("everything", "ping-inline")}
    gateways["do-nothing check"] = (DO_NOTHING, "ping")
    numbers = CONNECTIONS[:3] if pace.quick else CONNECTIONS
    cases = [
        Case(f"{name} {number}", gateway, route, number)
        for number in numbers
        for name, (gateway, route) in gateways.items()
    ]
    rows = await take_turns(stage, cases, 1 if pace.quick else 2, max(1.0, pace.seconds / 2))
    told = [row.told() | {"series": name.rsplit(" ", 1)[0]} for name, row in rows.items()]
    return Answer("concurrency", told, _table(numbers, list(gateways), rows))


def _table(numbers: Sequence[int], series: Sequence[str], rows: dict[str, Row]) -> Table:
    table = Table(title="By connections: requests a second (p99 ms)", title_justify="left")
    for heading in ("connections", *series):
        table.add_column(heading, justify="right")
    for number in numbers:
        found = [rows[f"{name} {number}"] for name in series]
        table.add_row(str(number), *(f"{row.per_s:,.0f} ({row.p99_ms:.1f})" for row in found))
    return table
