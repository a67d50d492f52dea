"""``make bench``: every question of the benchmark in one run, as tables, a plot and a file.

    python -m bench [--quick] [--only QUESTION ...]

About twenty minutes in full, two when quick. Everything runs on this machine, the load generator
too, so the ratios count and not the figures; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench import (
    q_concurrency,
    q_growth,
    q_keys,
    q_latency,
    q_leases,
    q_meters,
    q_others,
    q_throughput,
    q_workers,
)
from bench.answers import FULL, QUICK, Answer, Pace
from bench.load import generator
from bench.machine import describe, pace_ms
from bench.plot import draw_in_terminal, draw_picture, series_of
from bench.stage import Stage, open_stage
from bench.targets import targets_table
from billing.errors import TollkeeperError
from devstack import PartFailed

NOT_WHEN_QUICK = frozenset({"keys", "growth", "workers", "leases", "settlement", "ratelimit"})
"""Questions that take longer than a quick run; `--only` asks them all the same."""

QUESTION_S = 900
"""No question may hold up the others for longer."""

RESULTS = Path(__file__).with_name("results")
BUSY_LOAD = 0.5
ON_STAGE: dict[str, Callable[[Stage, Pace], Awaitable[Answer]]] = {
    "throughput": q_throughput.ask,
    "meters": q_meters.ask,
    "concurrency": q_concurrency.ask,
    "latency": q_latency.ask,
    "growth": q_growth.ask,
    "keys": q_keys.ask,
}
BY_THEMSELVES: dict[str, Callable[[Path, Pace], Awaitable[Answer]]] = {
    "workers": q_workers.ask,
    "leases": q_leases.ask,
    "settlement": q_others.settlement,
    "ratelimit": q_others.rate_limit,
}


class Run:
    """One run: asks, shows and keeps the answers."""

    def __init__(self, console: Console, pace: Pace, folder: Path) -> None:
        self._console = console
        self._pace = pace
        self._folder = folder
        self._machine = describe()
        self.answers: list[Answer] = []
        self.figures: dict[str, float] = {}
        self.paces_ms: dict[str, float] = {}

    async def ask(self, name: str, asking: Awaitable[Answer]) -> None:
        """Wait for an answer and show it; a question that fails is told, and the run goes on."""
        pace = self.paces_ms[name] = pace_ms()
        at = time.strftime("%H:%M:%S")
        self._console.print(f"[dim]{at} {name} ... (a fixed loop takes {pace} ms)[/dim]")
        try:
            async with asyncio.timeout(QUESTION_S):
                answer = await asking
        except (RuntimeError, OSError, TimeoutError, PartFailed, TollkeeperError) as error:
            self._console.print(f"[red]{name} was not answered: {error!r}[/red]")
            return
        self.answers.append(answer)
        self.figures |= answer.figures
        self._write(name, answer)
        self._console.print(answer.table)
        for note in answer.notes:
            self._console.print(f"  {note}")

    async def on_stage(self, home: Path, names: Sequence[str]) -> None:
        """The questions that share one stage."""
        beside = not set(names) <= {"keys", "growth"}
        async with open_stage(home, beside=beside) as stage:
            for line in stage.skipped:
                self._console.print(f"[yellow]skipped: {line}[/yellow]")
            for name in names:
                await self.ask(name, ON_STAGE[name](stage, self._pace))

    def _write(self, name: str, answer: Answer) -> None:
        """At once, so that a run which is broken off has told what it knows."""
        self._folder.mkdir(parents=True, exist_ok=True)
        told = {
            "machine": self._machine | {"pace_ms": self.paces_ms[name]},
            "figures": answer.figures,
            "rows": list(answer.rows),
        }
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(told, indent=1) + "\n")


async def run(console: Console, pace: Pace, only: Sequence[str], folder: Path) -> Run:
    """Ask all questions, or the named ones."""
    found = Run(console, pace, folder)
    every = (*ON_STAGE, *BY_THEMSELVES)
    wanted = only or [name for name in every if not (pace.quick and name in NOT_WHEN_QUICK)]
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        home = Path(place)
        staged = [name for name in ON_STAGE if name in wanted]
        if staged:
            await found.on_stage(home, staged)
        for name, asking in BY_THEMSELVES.items():
            if name in wanted:
                await found.ask(name, asking(home, pace))
    return found


def show(console: Console, found: Run, folder: Path) -> None:
    """The picture, the plot in the terminal, and the targets."""
    for answer in found.answers:
        if answer.question == "concurrency":
            series = series_of(answer.rows)
            draw_picture(series, folder / "concurrency.png")
            console.print(draw_in_terminal(series), highlight=False, markup=False)
    console.print(targets_table(found.figures))
    console.print(f"written: {folder}")


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes; figures are rough")
    parser.add_argument("--only", nargs="+", choices=(*ON_STAGE, *BY_THEMSELVES), default=())
    chosen = parser.parse_args()
    console, machine = Console(width=140), describe()
    if generator() != "wrk":
        console.print(
            "[yellow]no wrk here (Debian: apt-get install wrk): the load comes from Python"
            " and takes much of the machine itself, so every figure is lower[/yellow]"
        )
    if machine["load_before"] > BUSY_LOAD:
        console.print(
            f"[yellow]the machine is busy (load {machine['load_before']}): figures are"
            " provisional[/yellow]"
        )
    pace = QUICK if chosen.quick else FULL
    folder = RESULTS / "local" if chosen.quick or chosen.only else RESULTS
    show(console, asyncio.run(run(console, pace, chosen.only, folder)), folder)


if __name__ == "__main__":
    main()
