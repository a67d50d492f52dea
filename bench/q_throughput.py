"""How much does a request cost, and how many can be served: Envoy alone, with a check that does
nothing, and with everything on."""

from __future__ import annotations

from bench.answers import Answer, Pace, rows_table
from bench.rounds import Case, Row, take_turns
from bench.stage import Stage

INLINE = "everything, limit inline"
SERVICE = "everything, limit by service"


def python_us(row: Row) -> float:
    """CPU of the Python threads of the front door for one request."""
    return row.cpu_us("authz python") or row.cpu_us("authz")


async def ask(stage: Stage, pace: Pace) -> Answer:
    """All gateways in turns, one flat route."""
    cases = [
        Case("Envoy alone", "alone"),
        *(Case(name, name) for name in stage.gateways if name.startswith("do-nothing")),
        Case(INLINE, "everything", "ping-inline"),
        Case(SERVICE, "everything"),
    ]
    if "everything grpc.aio" in stage.gateways:
        cases.append(Case("everything, over grpc.aio", "everything grpc.aio", "ping-inline"))
    rows = await take_turns(stage, cases, pace.rounds, pace.seconds)
    alone, inline = rows["Envoy alone"], rows[INLINE]
    figures = {
        "everything_over_alone": inline.per_s / alone.per_s,
        "python_us_per_check": python_us(inline),
    }
    table = rows_table("What a request costs (64 connections)", list(rows.values()), alone)
    return Answer("throughput", [row.told() for row in rows.values()], table, figures)
