"""Whole reports as CSV (RFC 4180), page after page out of one snapshot."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

from billing.pages import MAX_PAGE_ROWS, PageAsk
from billing.reports import Span, StatementLine, UsageBy, UsageRow
from tollkeeper.operations import reports
from tollkeeper.operations.desk import Desk, View

EXPORT_TIMEOUT_S = 300.0
"""How long a client may take for a whole report; a snapshot is held open for it."""
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")

Read = Callable[[View, PageAsk], Any]


async def usage_csv(desk: Desk, account: str, span: Span, by: Collection[UsageBy]) -> Response:
    """Usage rows; an unknown account is told before the first byte."""

    async def read(view: View, ask: PageAsk) -> tuple[Sequence[object], str | None]:
        page = await reports.usage(view, account, span, by, ask)
        return page.rows, page.next_cursor

    return await _csv(desk, account, "usage", [field.name for field in fields(UsageRow)], read)


async def statement_csv(desk: Desk, account: str, span: Span, *, detail: bool) -> Response:
    """Statement lines with the balance after each."""

    async def read(view: View, ask: PageAsk) -> tuple[Sequence[object], str | None]:
        page = await reports.statement(view, account, span, ask, detail=detail)
        return page.lines, page.next_cursor

    columns = [field.name for field in fields(StatementLine)]
    return await _csv(desk, account, "statement", columns, read)


async def _csv(desk: Desk, account: str, name: str, columns: Sequence[str], read: Read) -> Response:
    async with desk.view(name) as view:
        await view.account(account)
    return StreamingResponse(
        _lines(desk, name, columns, read),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}.csv"'},
    )


async def _lines(desk: Desk, name: str, columns: Sequence[str], read: Read) -> AsyncIterator[str]:
    yield _written([columns])
    async with asyncio.timeout(EXPORT_TIMEOUT_S), desk.view(name) as view:
        ask = PageAsk(MAX_PAGE_ROWS)
        while True:
            rows, cursor = await read(view, ask)
            yield _written([[_cell(getattr(row, name)) for name in columns] for row in rows])
            if cursor is None:
                return
            ask = PageAsk(MAX_PAGE_ROWS, cursor)


def _written(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: object) -> str:
    """Text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return "'" + value
    return str(value)
