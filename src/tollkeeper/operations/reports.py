"""What people read: balance, usage, statement, single requests, quarantine."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta

from billing.pages import Page, PageAsk
from billing.reports import (
    FIRST_DAY,
    Balance,
    Explanation,
    LedgerEntry,
    QuarantineItem,
    ReservationRow,
    Span,
    Statement,
    UsageBy,
    UsageEvent,
    UsageRow,
)
from billing.reservations import State
from billing.stores import postgres_check, postgres_reports, postgres_requests
from billing.stores.postgres_check import Totals
from tollkeeper.operations.desk import View

DEFAULT_DAYS = 30
"""What a report covers when nobody says: today and the 29 days before."""


def span_until_today(view: View, since: date | None, until: date | None) -> Span:
    """:func:`span_of` by the view's clock."""
    return span_of(view.now, since, until)


def span_of(now: datetime, since: date | None, until: date | None) -> Span:
    """A span with what was left out: the last 30 days, today (UTC) included."""
    end = until or now.date() + timedelta(days=1)
    if since is None:
        since = max(end, FIRST_DAY + timedelta(days=DEFAULT_DAYS)) - timedelta(days=DEFAULT_DAYS)
    return Span(since, end)


async def balance(view: View, account: str) -> Balance:
    """What an account has posted, held and available, as of Postgres."""
    owner = await view.account(account)
    return await postgres_reports.read_balance(view.connection, owner.id)


async def usage(
    view: View, account: str, span: Span, by: Collection[UsageBy], ask: PageAsk
) -> Page[UsageRow]:
    """What an account used, summed by day, profile, route, model or key, in any combination."""
    owner = await view.account(account)
    return await postgres_reports.read_usage(view.connection, owner.id, span, by, ask)


async def statement(
    view: View, account: str, span: Span, ask: PageAsk, *, detail: bool = False
) -> Statement:
    """Opening balance, movements with the balance after each, closing balance."""
    owner = await view.account(account)
    return await postgres_reports.read_statement(view.connection, owner, span, ask, detail=detail)


async def explain(view: View, request_id: str, account: str | None = None) -> Explanation:
    """Why a request cost what it did; with an account, only if the request is that account's."""
    account_id = None if account is None else (await view.account(account)).id
    return await postgres_requests.explain_request(view.connection, request_id, account_id)


async def requests(view: View, account: str, ask: PageAsk) -> Page[UsageEvent]:
    """Settled requests of an account, newest first."""
    owner = await view.account(account)
    return await postgres_requests.list_events(view.connection, owner.id, ask)


async def reservations(
    view: View, account: str | None, state: State | None, ask: PageAsk
) -> Page[ReservationRow]:
    """Reservations of an account, or all that are pending or expired."""
    account_id = None if account is None else (await view.account(account)).id
    return await postgres_requests.list_reservations(view.connection, account_id, state, ask)


async def ledger_entries(view: View, account: str, ask: PageAsk) -> Page[LedgerEntry]:
    """The transfers made on behalf of an account."""
    owner = await view.account(account)
    return await postgres_requests.list_entries(view.connection, owner.id, ask)


async def ledger_totals(view: View) -> Totals:
    """What all ledger accounts of each code have given and taken together."""
    totals, _ = await postgres_check.ledger_totals(view.connection)
    return totals


async def quarantine(view: View, account: str | None, ask: PageAsk) -> Page[QuarantineItem]:
    """Entries that could not be settled, newest first."""
    account_id = None if account is None else (await view.account(account)).id
    return await postgres_requests.list_quarantine(view.connection, account_id, ask)
