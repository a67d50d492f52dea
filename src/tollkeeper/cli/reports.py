"""What people read: balance, usage, statement, explain, reservations, quarantine, audit."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

from billing.errors import InvalidInput
from billing.money import format_credits
from billing.reports import Balance, QuarantineItem, ReservationRow, UsageBy, UsageRow
from billing.reservations import State
from tollkeeper.cli.asking import (
    AccountName,
    AsJson,
    Cursor,
    Limit,
    OfAccount,
    Since,
    Until,
    page_of,
    read_day,
)
from tollkeeper.cli.doing import see
from tollkeeper.cli.explaining import show_explanation
from tollkeeper.cli.showing import show_facts, show_json, show_page, usd
from tollkeeper.cli.statements import show_statement

USAGE_BY: tuple[str, ...] = get_args(UsageBy)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (balance, usage, statement, explain, reservations, quarantine, audit):
        app.command(command.__name__)(command)


def balance(account: AccountName, as_json: AsJson = False) -> None:
    """Show what an account has: posted, held by requests that run, available."""
    from tollkeeper.operations import reports

    found = see("balance", lambda view: reports.balance(view, account))
    if as_json:
        show_json(
            {
                "posted": found.posted_nanos,
                "held": found.held_nanos,
                "available": found.available_nanos,
            }
        )
        return
    show_facts(_balance_facts(found))


def usage(
    account: AccountName,
    since: Since = None,
    until: Until = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="WHAT", help=f"{', '.join(USAGE_BY)}; repeat for more."),
    ] = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show what an account used: by day and profile, or as --by says."""
    from tollkeeper.operations import reports

    apart = _told_apart(by or ["day", "profile"])
    days = (read_day(since), read_day(until))
    page = see(
        "usage",
        lambda view: reports.usage(
            view, account, reports.span_until_today(view, *days), apart, page_of(limit, cursor)
        ),
    )
    heads = (*apart, "requests", "units", "price (USD)", "provider cost (USD)", "needs review")
    show_page(page, heads, lambda row: _usage_row(row, apart), as_json=as_json)


def statement(
    account: AccountName,
    since: Since = None,
    until: Until = None,
    detail: Annotated[bool, typer.Option("--detail", help="Each request on a line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the statement of account: opening balance, what moved, closing balance."""
    show_statement(account, read_day(since), read_day(until), detail=detail, as_json=as_json)


def explain(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="Its x-request-id.")],
    account: OfAccount = None,
    as_json: AsJson = False,
) -> None:
    """Explain what a request cost, and why."""
    from tollkeeper.operations import reports

    found = see("explain", lambda view: reports.explain(view, request_id, account))
    show_json(found) if as_json else show_explanation(found)


def reservations(
    expired: Annotated[
        bool, typer.Option("--expired", help="Those whose log entry never came.")
    ] = False,
    account: OfAccount = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List reservations that are pending, or that expired."""
    from tollkeeper.operations import reports

    state: State = "expired" if expired else "pending"
    page = see(
        "reservations",
        lambda view: reports.reservations(view, account, state, page_of(limit, cursor)),
    )
    heads = ("id", "account", "route", "state", "held (USD)", "admitted", "expires")
    show_page(page, heads, _reservation_row, as_json=as_json)


def quarantine(
    account: OfAccount = None, limit: Limit = 100, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List entries that could not be settled, newest first."""
    from tollkeeper.operations import reports

    page = see("quarantine", lambda view: reports.quarantine(view, account, page_of(limit, cursor)))
    heads = ("id", "reason", "account", "reservation", "seen", "first seen", "entry")
    show_page(page, heads, _quarantine_row, as_json=as_json)


def audit(
    account: OfAccount = None, limit: Limit = 100, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List who changed what, newest first."""
    from tollkeeper.operations.operators import audit_log

    page = see("audit", lambda view: audit_log(view, account, page_of(limit, cursor)))
    heads = ("at", "actor", "via", "action", "account", "detail")
    show_page(
        page,
        heads,
        lambda entry: (
            entry.at,
            entry.actor,
            entry.via,
            entry.action,
            entry.account_id,
            " ".join(f"{name}={value}" for name, value in entry.detail.items()),
        ),
        as_json=as_json,
    )


def _told_apart(words: list[str]) -> tuple[UsageBy, ...]:
    for word in words:
        if word not in USAGE_BY:
            raise InvalidInput(f"--by takes {', '.join(USAGE_BY)}, not {word!r}")
    return tuple(cast("list[UsageBy]", words))


def _balance_facts(found: Balance) -> list[tuple[str, object]]:
    amounts = {
        "posted": found.posted_nanos,
        "overdraft": found.overdraft_nanos,
        "held": found.held_nanos,
        "available": found.available_nanos,
    }
    return [
        (name, f"{usd(nanos)} USD = {format_credits(nanos)} credits")
        for name, nanos in amounts.items()
    ]


def _usage_row(row: UsageRow, apart: tuple[UsageBy, ...]) -> tuple[object, ...]:
    fields = {"key": row.key_id}
    return (
        *(fields.get(name) or getattr(row, name, "") or "-" for name in apart),
        row.requests,
        row.units,
        usd(row.price_nanos),
        usd(row.provider_cost_nanos),
        row.needs_review,
    )


def _reservation_row(row: ReservationRow) -> tuple[object, ...]:
    return (
        row.id,
        row.account_id,
        row.route,
        row.state,
        usd(row.held_nanos),
        row.admitted_at,
        row.expires_at,
    )


def _quarantine_row(item: QuarantineItem) -> tuple[object, ...]:
    return (
        item.id,
        item.reason,
        item.account_id,
        item.reservation_id,
        item.seen,
        item.created_at,
        item.entry[:200],
    )
