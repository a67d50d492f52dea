"""How answers look: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from billing.money import format_usd
from billing.pages import Page

PIPE_WIDTH = 10_000
"""Columns where nobody sees the end of a line: a table in a pipe is never cut or wrapped."""


def show_json(value: object) -> None:
    """Print a value as JSON; amounts stay whole nano-USD, times are in UTC, paths are texts."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=_path), indent=2).decode())


def _path(value: object) -> str:
    """What JSON has no form for: the path of a file."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value)} has no form in JSON")


def show_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their heads; numbers stand at the right."""
    from rich.console import Console
    from rich.table import Table

    cells = [[_cell(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(heads):
        right = bool(cells) and all(_is_number(row[number]) for row in cells)
        table.add_column(head, justify="right" if right else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    pairs = [(name, _cell(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        typer.echo(f"{name:<{width}}  {value}")


def show_page(
    page: Page[Any], heads: Sequence[str], row: Callable[[Any], Sequence[object]], *, as_json: bool
) -> None:
    """Print one page, and on stderr how to get the next."""
    if as_json:
        show_json(page)
        return
    show_table(heads, [row(item) for item in page.rows])
    if page.next_cursor is not None:
        typer.echo(f"more: --cursor {page.next_cursor}", err=True)


def usd(amount_nanos: int) -> str:
    """Nano-USD as USD with at least two decimals, and no more zeros than needed."""
    whole, _, fraction = format_usd(amount_nanos).partition(".")
    return f"{whole}.{fraction[:2]}{fraction[2:].rstrip('0')}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ",".join(str(part) for part in value) or "-"
    return str(value)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdigit()
