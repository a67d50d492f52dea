"""Options that many commands share, and how text from a command line becomes a value."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer

from billing.errors import InvalidInput
from billing.pages import MAX_PAGE_ROWS, PageAsk

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id or its name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", help=f"Rows of a page, up to {MAX_PAGE_ROWS}.")]
Cursor = Annotated[
    str | None, typer.Option("--cursor", help="Where the page before this one ended.")
]
Since = Annotated[str | None, typer.Option("--since", metavar="DATE", help="First day, in UTC.")]
Until = Annotated[
    str | None, typer.Option("--until", metavar="DATE", help="Day after the last, in UTC.")
]
OfAccount = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="Only of this account.")
]

_LENGTH = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def page_of(limit: int, cursor: str | None) -> PageAsk:
    """The page that the options ask for."""
    return PageAsk(limit, cursor)


def read_length(text: str) -> timedelta:
    """A length of time such as ``24h`` or ``30d``; ``InvalidInput`` for anything else."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise InvalidInput(f"{text!r} is no length of time; write digits and s, m, h or d")
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


def read_day(text: str | None) -> date | None:
    """A day such as ``2026-03-01``; ``InvalidInput`` for anything else."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no day; write year-month-day") from error


def ends_after(length: str | None) -> datetime | None:
    """The time so long from now; ``None`` for never."""
    return None if length is None else datetime.now(UTC) + read_length(length)
