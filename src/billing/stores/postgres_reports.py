"""Balance, usage and statement of an account, read from Postgres in the caller's snapshot."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from billing.accounts import Account
from billing.pages import Page, PageAsk, cut_page
from billing.reports import Balance, Span, Statement, StatementLine, UsageBy, UsageRow
from billing.stores.postgres_access import Connection, Record
from billing.stores.queries import load_queries

SQL = load_queries("reports.sql")
ID_MARGIN_MS = 86_400_000
"""How far the clock that made an id may be from the one that stamped the admission: a day."""


async def read_balance(connection: Connection, account_id: str) -> Balance:
    """What the account has: posted, held by pending reservations, and its overdraft."""
    row = await connection.fetchrow(SQL["balance"], account_id)
    assert row is not None, "the caller found the account in this snapshot"
    return Balance(
        row["account_id"], row["posted_nanos"], row["overdraft_nanos"], int(row["held_nanos"])
    )


async def read_usage(
    connection: Connection, account_id: str, span: Span, by: Collection[UsageBy], ask: PageAsk
) -> Page[UsageRow]:
    """Settled requests admitted in the span, summed by what ``by`` tells apart."""
    key = ask.after(str, str, str, str, str)
    rows = await connection.fetch(
        SQL["usage"],
        account_id,
        span.since_us,
        span.until_us,
        sorted(by),
        first_id_at(span.since_us // 1000 - ID_MARGIN_MS),
        first_id_at(span.until_us // 1000 + ID_MARGIN_MS),
        key and list(key),
        ask.limit + 1,
    )
    usage = [_usage(row) for row in rows]
    keys = [(u.day, u.profile, u.route, u.model, u.key_id) for u in usage]
    return cut_page(usage, ask, keys)


async def read_statement(
    connection: Connection, account: Account, span: Span, ask: PageAsk, *, detail: bool
) -> Statement:
    """An account's movements: by day and route, or with ``detail`` each request for itself."""
    opening_nanos = await _balance_before(connection, account.id, span.since_us)
    closing_nanos = await _balance_before(connection, account.id, span.until_us)
    key = ask.after(int, str, str) or (None, None, None)
    rows = await connection.fetch(
        SQL["statement_detail" if detail else "statement_daily"],
        account.id,
        span.since_us,
        span.until_us,
        opening_nanos,
        *key,
        ask.limit + 1,
    )
    keys = [(row["at_us"], row["id"], row["kind"]) for row in rows]
    page = cut_page([_line(row, detail=detail) for row in rows], ask, keys)
    return Statement(
        account.id,
        account.name,
        span,
        opening_nanos,
        page.rows,
        closing_nanos,
        page.next_cursor,
    )


def first_id_at(unix_ms: int) -> str:
    """The lowest UUIDv7 of a millisecond (RFC 9562, section 5.7)."""
    digits = f"{max(unix_ms, 0):012x}" + "0" * 20
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def instant(unix_us: int) -> datetime:
    """Unix microseconds as a time in UTC, exactly."""
    seconds, us = divmod(unix_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=us)


async def _balance_before(connection: Connection, account_id: str, at_us: int) -> int:
    return int(await connection.fetchval(SQL["balance_before"], account_id, at_us))


def _usage(row: Record) -> UsageRow:
    sums = {name: int(row[name]) for name in ("units", "price_nanos", "provider_cost_nanos")}
    return UsageRow(**{**dict(row), **sums})


def _line(row: Record, *, detail: bool) -> StatementLine:
    single = detail or row["requests"] == 0
    return StatementLine(
        at=instant(row["at_us"]),
        id=row["id"] if single else "",
        kind=row["kind"],
        text=row["text"],
        requests=row["requests"],
        units=int(row["units"]),
        amount_nanos=int(row["amount"]),
        balance_nanos=int(row["balance"]),
    )
