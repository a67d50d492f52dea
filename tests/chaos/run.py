"""``make chaos SECONDS=600 SEED=7``: a long campaign, told step by step, and its summary."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.arena import open_arena
from tests.chaos.campaign import Report, run_campaign
from tests.chaos.faults import FAULTS

WORKERS = 3


def summary(report: Report) -> str:
    """What was tried, how soon it was over, what was found; Markdown."""
    assert report.books is not None
    states = Counter(row["state"] for row in report.books.reservations.values())
    tally = report.books.replay["files"][0]["tally"]
    faults = f"{sum(report.tried.values())} faults of {len(report.tried)} kinds"
    told = " ".join(f"{name} {tally[name]}" for name in ("settled", "late", "released"))
    lines = [
        f"seed {report.seed}, {report.seconds:.0f} s, {faults}, {report.answers.total()} requests",
        f"clients heard: {_counts(report.answers)}",
        f"reservations: {_counts(states)}",
        f"the last replay: {told}, known {tally['duplicates']}",
        f"leases: {_counts(report.leases)}, left by the dead {len(report.books.left_leases)}",
        f"answered as Envoy was killed, in no log, expired: {len(report.books.lost)}",
        "",
        "| fault | tried | answered again after | settled again after | clients heard |",
        "|---|---|---|---|---|",
        *(_row(name, report) for name in FAULTS if report.tried[name]),
        "",
        f"differences found: {len(report.differences) or 'none'}",
        *report.differences[:50],
    ]
    return "\n".join(lines)


def _row(name: str, report: Report) -> str:
    alone = report.recoveries.get(name, [])
    answered = _span([r.answered_s for r in alone])
    settled = _span([r.settled_s for r in alone])
    heard = _counts(report.heard.get(name, Counter()))
    return f"| {name} | {report.tried[name]} | {answered} | {settled} | {heard} |"


def _span(seconds: list[float]) -> str:
    if not seconds:
        return "only with others"
    return f"{sorted(seconds)[len(seconds) // 2]:.1f} s (most {max(seconds):.1f} s)"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common())


async def campaign(seed: int, for_s: float) -> Report:
    """One campaign in a directory that is gone afterwards, unless something was found."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    print(f"chaos: seed {seed}, {for_s:.0f} s, data in {folder}", flush=True)
    async with open_arena(folder, seed, workers=WORKERS) as arena:
        return await run_campaign(arena, seed, None, for_s, lambda line: print(line, flush=True))


def main() -> int:
    """Run; 1 when a difference was found."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    report = asyncio.run(campaign(asked.seed, asked.seconds))
    print(summary(report))
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
