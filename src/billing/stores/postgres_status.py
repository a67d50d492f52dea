"""How Postgres itself is, and what the books wait for: what a doctor asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.stores.postgres_access import Connection
from billing.stores.queries import load_queries

SQL = load_queries("status.sql")

MOST_COUNTED = 1_000_000
"""About a second of reading; a minute of the fastest traffic that was measured is a tenth of it."""
LATE_WITHIN = timedelta(days=1)
"""Entries that come later than a day were lost, and are looked for by a person."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """The server: ``version_num`` is 180000 for 18.0, ``now`` its clock."""

    version_num: int
    version: str
    now: datetime
    in_recovery: bool
    fsync: bool
    superuser: bool


@dataclass(frozen=True, slots=True)
class BooksStatus:
    """What waits longer than a minute, counted up to 10 000, and which hot copy is in force.

    ``checked_at`` is when the ledger was checked last, ``broken`` what the newest checks (of what
    was new, of the whole) found; empty when it was in order.
    """

    untold_batches: int
    overdue_reservations: int
    quarantined: int
    checked_at: datetime | None
    broken: str
    epoch: int
    hot_identity: str


@dataclass(frozen=True, slots=True)
class ReservationStatus:
    """Live reservations, and those of the last day whose entry has not come.

    ``overdue`` are pending a minute past their lifetime. ``held_nanos`` is what all pending ones
    hold, ``oldest_us`` when the oldest of them was admitted. Counted up to ``MOST_COUNTED``.
    """

    pending: int
    overdue: int
    held_nanos: int
    oldest_us: int | None
    expired: int


async def server_status(connection: Connection) -> ServerStatus:
    """Ask the server about itself; needs no table of ours."""
    row = await connection.fetchrow(SQL["server"])
    assert row is not None, "a SELECT without FROM has one row"
    return ServerStatus(**dict(row))


async def books_status(connection: Connection) -> BooksStatus:
    """Ask what the books wait for."""
    row = await connection.fetchrow(SQL["books"])
    assert row is not None, "a SELECT without FROM has one row"
    return BooksStatus(**dict(row))


async def reservation_status(connection: Connection, now: datetime) -> ReservationStatus:
    """Count what lives and what was lost of late, at the cost of reading only that."""
    since = first_id_of(now - LATE_WITHIN)
    row = await connection.fetchrow(SQL["reservations"], now, MOST_COUNTED, since)
    assert row is not None, "an aggregate has one row"
    return ReservationStatus(**{**dict(row), "held_nanos": int(row["held_nanos"])})


def first_id_of(at: datetime) -> str:
    """The least UUIDv7 that can be made at a time or later (RFC 9562, section 5.7)."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
