"""Single requests in Postgres: reservations, settled events, ledger entries, quarantine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from billing.accounts import looks_like_id
from billing.errors import InvalidInput, NotFound
from billing.pages import Page, PageAsk, cut_page
from billing.reports import (
    Explanation,
    LedgerEntry,
    QuarantineItem,
    ReservationRow,
    UsageEvent,
)
from billing.reservations import State
from billing.stores.postgres_access import Connection, Record
from billing.stores.postgres_reports import instant
from billing.stores.queries import load_queries

SQL = load_queries("reports.sql")
OPEN_STATES: tuple[State, State] = ("pending", "expired")
"""Few reservations are in these; the others are as many as requests ever were."""


async def explain_request(
    connection: Connection, reservation_id: str, account_id: str | None
) -> Explanation:
    """All that is known of a request; with an account, only if it is that account's.

    ``NotFound`` says nothing about whether another account has it.
    """
    row = None
    if looks_like_id(reservation_id):
        row = await connection.fetchrow(SQL["reservation"], reservation_id, account_id)
    if row is None:
        raise NotFound(f"no request has the id {reservation_id!r}, or it is not journaled yet")
    reservation = _reservation(row)
    key = (reservation.account_id, reservation.id)
    event = await connection.fetchrow(SQL["usage_event"], *key)
    price = await connection.fetchrow(SQL["price_of_version"], reservation.price_version)
    return Explanation(
        reservation=reservation,
        event=None if event is None else _event(event),
        entries=[_entry(r) for r in await connection.fetch(SQL["entries_of_source"], *key)],
        quarantined=await _quarantined(connection, reservation.id),
        price_effective_from=None if price is None else price["effective_from"],
        tariffs={} if price is None else json.loads(price["definition"]).get("tariffs", {}),
    )


async def list_reservations(
    connection: Connection, account_id: str | None, state: State | None, ask: PageAsk
) -> Page[ReservationRow]:
    """Reservations, oldest first: of an account in any state, or of all in an open state."""
    key = ask.after(str)
    after = key and key[0]
    if account_id is not None:
        rows = await connection.fetch(
            SQL["reservations_of_account"], account_id, state, after, ask.limit + 1
        )
    elif state in OPEN_STATES:
        rows = await connection.fetch(SQL["reservations_of_state"], state, after, ask.limit + 1)
    else:
        raise InvalidInput(f"name an account, or one of the states {', '.join(OPEN_STATES)}")
    found = [_reservation(row) for row in rows]
    return cut_page(found, ask, [(reservation.id,) for reservation in found])


async def list_events(connection: Connection, account_id: str, ask: PageAsk) -> Page[UsageEvent]:
    """Settled requests of an account, newest first."""
    key = ask.after(str)
    rows = await connection.fetch(SQL["recent_events"], account_id, key and key[0], ask.limit + 1)
    events = [_event(row) for row in rows]
    return cut_page(events, ask, [(event.id,) for event in events])


async def list_entries(connection: Connection, account_id: str, ask: PageAsk) -> Page[LedgerEntry]:
    """The transfers that were made on behalf of an account, oldest cause first."""
    key = ask.after(str, str) or (None, None)
    rows = await connection.fetch(SQL["entries_of_account"], account_id, *key, ask.limit + 1)
    entries = [_entry(row) for row in rows]
    return cut_page(entries, ask, [(entry.source_id, entry.kind) for entry in entries])


async def list_quarantine(
    connection: Connection, account_id: str | None, ask: PageAsk
) -> Page[QuarantineItem]:
    """What could not be settled, newest first."""
    key = ask.after(int)
    rows = await connection.fetch(
        SQL["quarantine_items"], account_id, key and key[0], ask.limit + 1
    )
    items = [QuarantineItem(**dict(row)) for row in rows]
    return cut_page(items, ask, [(item.id,) for item in items])


async def _quarantined(connection: Connection, reservation_id: str) -> Sequence[QuarantineItem]:
    rows = await connection.fetch(SQL["quarantine_of_reservation"], reservation_id)
    return [QuarantineItem(**dict(row)) for row in rows]


def _reservation(row: Record) -> ReservationRow:
    fields = dict(row)
    ended_us = fields.pop("ended_us")
    return ReservationRow(
        **_with_times(fields, admitted_at="admitted_us"),
        ended_at=None if ended_us is None else instant(ended_us),
    )


def _event(row: Record) -> UsageEvent:
    fields = _with_times(
        dict(row),
        admitted_at="admitted_us",
        completed_at="completed_us",
        settled_at="settled_us",
    )
    return UsageEvent(**{**fields, "facts": json.loads(fields["facts"])})


def _entry(row: Record) -> LedgerEntry:
    return LedgerEntry(**_with_times(dict(row), posted_at="created_us"))


def _with_times(fields: dict[str, Any], **columns: str) -> dict[str, Any]:
    """Columns of Unix microseconds under the names of the times that they become."""
    times = {name: instant(fields[column]) for name, column in columns.items()}
    rest = {name: value for name, value in fields.items() if name not in columns.values()}
    return {**rest, **times}
