"""What a question of the benchmark comes to: rows for the file and for people, and figures for the
table of targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from bench.rounds import Row


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a run may take: about twenty minutes in full, two when quick."""

    rounds: int
    seconds: float
    quick: bool


FULL = Pace(rounds=3, seconds=4, quick=False)
QUICK = Pace(rounds=2, seconds=1, quick=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """``rows`` go into the file of results, ``figures`` into the table of targets."""

    question: str
    rows: Sequence[dict[str, Any]]
    table: Table
    figures: dict[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def rows_table(title: str, rows: Sequence[Row], against: Row) -> Table:
    """Rows with their ratio to one of them."""
    table = Table(title=title, title_justify="left")
    for name in (
        "",
        "req/s",
        "+-",
        f"of {against.case.name}",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
    ):
        table.add_column(name, justify="left" if name in {"", "CPU us/request"} else "right")
    for row in rows:
        table.add_row(
            row.case.name,
            f"{row.per_s:,.0f}",
            f"{row.spread:.0%}",
            f"{row.per_s / against.per_s:.2f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            cpu_text(row),
        )
    return table


def cpu_text(row: Row) -> str:
    """CPU of each process for one request, the largest first."""
    names = {name for round_ in row.rounds for name in round_.cpu_us}
    spent = sorted(((row.cpu_us(name), name) for name in names), reverse=True)
    return " ".join(f"{name} {us:.0f}" for us, name in spent if us >= 1)
