"""Everything on, meter by meter: settled requests per second, with one call and with two."""

from __future__ import annotations

from bench.answers import Answer, Pace, rows_table
from bench.offer import ROUTES
from bench.rounds import Case, take_turns
from bench.stage import Stage


async def ask(stage: Stage, pace: Pace) -> Answer:
    """Each route of the offer, its limit inline and by the service."""
    cases = [Case("Envoy alone", "alone")]
    for route in ROUTES:
        cases.append(Case(f"{route}, inline", "everything", f"{route}-inline"))
        if not pace.quick:
            cases.append(Case(f"{route}, service", "everything", route))
    rounds = 1 if pace.quick else 2
    rows = await take_turns(stage, cases, rounds, max(1.0, pace.seconds - 1))
    table = rows_table("Everything on, by meter", list(rows.values()), rows["Envoy alone"])
    return Answer("meters", [row.told() for row in rows.values()], table)
