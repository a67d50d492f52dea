"""The statement of account, page after page, so that its length never matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date

import typer

from billing.pages import MAX_PAGE_ROWS, PageAsk
from billing.reports import Statement, StatementLine
from tollkeeper.cli.doing import settings_here
from tollkeeper.cli.showing import show_json, usd

_NAMES = {
    "topup": "top-up",
    "charge": "charge",
    "expiry": "expired, charged",
    "refund": "refund",
    "correction": "correction",
}
_HEADS = ("posted (UTC)", "what", "for", "requests", "units", "USD", "balance")
_WIDTHS = (19, 16, 28, 8, 10, 14, 14)
_DETAIL_WIDTHS = (19, 16, 60, 8, 10, 14, 14)


def show_statement(
    account: str, since: date | None, until: date | None, *, detail: bool, as_json: bool
) -> None:
    """Print a whole statement; lines appear while the rest is still being read."""

    async def printing() -> None:
        lines: list[StatementLine] = []
        last: Statement | None = None
        async for page in _pages(account, since, until, detail=detail):
            if as_json:
                lines.extend(page.lines)
            else:
                _print_page(page, first=last is None, detail=detail)
            last = page
        assert last is not None, "a statement has one page at least"
        if as_json:
            show_json(_whole(last, lines))
        else:
            _print_end(last, detail=detail)

    asyncio.run(printing())


async def _pages(
    account: str, since: date | None, until: date | None, *, detail: bool
) -> AsyncIterator[Statement]:
    """All pages of one snapshot."""
    from tollkeeper.operations import reports
    from tollkeeper.operations.desk import open_desk

    dsn = settings_here().require_postgres_dsn()
    async with open_desk(dsn) as desk, desk.view("statement") as view:
        span = reports.span_until_today(view, since, until)
        ask = PageAsk(MAX_PAGE_ROWS)
        while True:
            page = await reports.statement(view, account, span, ask, detail=detail)
            yield page
            if page.next_cursor is None:
                return
            ask = PageAsk(MAX_PAGE_ROWS, page.next_cursor)


def _whole(last: Statement, lines: Sequence[StatementLine]) -> dict[str, object]:
    return {
        "account_id": last.account_id,
        "account_name": last.account_name,
        "since": last.span.since,
        "until": last.span.until,
        "opening_nanos": last.opening_nanos,
        "lines": lines,
        "closing_nanos": last.closing_nanos,
    }


def _print_page(page: Statement, *, first: bool, detail: bool) -> None:
    if first:
        span = page.span
        typer.echo(f"Statement of {page.account_name} ({page.account_id})")
        typer.echo(f"{span.since} until {span.until}, amounts in USD")
        typer.echo("")
        typer.echo(_columns(_HEADS, detail=detail))
        typer.echo(_columns(_balance("opening", page.opening_nanos), detail=detail))
    for line in page.lines:
        typer.echo(_columns(_line(line, detail=detail), detail=detail))


def _print_end(last: Statement, *, detail: bool) -> None:
    typer.echo(_columns(_balance("closing", last.closing_nanos), detail=detail))


def _balance(which: str, nanos: int) -> tuple[str, ...]:
    return ("", f"{which} balance", "", "", "", "", usd(nanos))


def _line(line: StatementLine, *, detail: bool) -> tuple[str, ...]:
    text = f"{line.text} {line.id}" if detail and line.requests else line.text
    return (
        line.at.strftime("%Y-%m-%d %H:%M:%S"),
        _NAMES.get(line.kind, line.kind),
        text,
        str(line.requests or ""),
        str(line.units or ""),
        usd(line.amount_nanos),
        usd(line.balance_nanos),
    )


def _columns(cells: tuple[str, ...], *, detail: bool) -> str:
    """Texts at the left, numbers at the right."""
    widths = _DETAIL_WIDTHS if detail else _WIDTHS
    parts = [
        f"{cell:<{width}}" if number < 3 else f"{cell:>{width}}"
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(parts).rstrip()
