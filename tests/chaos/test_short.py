"""The short form of the campaign: one seed a run, chosen from the clock unless it is given."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.arena import open_arena
from tests.chaos.campaign import Step, run_campaign


async def test_three_faults_and_nothing_is_lost(tmp_path: Path) -> None:
    """The sink is killed, Redis flushed, Postgres crashes: the books are exact all the same."""
    steps = [
        Step(n, (name,), 0.5)
        for n, name in enumerate(("sink_killed", "redis_flushed", "postgres_crashed"))
    ]
    async with open_arena(tmp_path, 1) as arena:
        report = await run_campaign(arena, 1, steps, 60.0)
    print(report.answers, dict(report.recoveries))
    assert not report.differences, "\n".join(report.differences)
