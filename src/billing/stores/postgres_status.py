"""How Postgres itself is, and what the books wait for: what a doctor asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from billing.stores.postgres_access import Connection
from billing.stores.queries import load_queries

SQL = load_queries("status.sql")


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
    """What waits longer than a minute, counted up to 10 000, and which hot copy is in force."""

    untold_batches: int
    overdue_reservations: int
    quarantined: int
    checked_at: datetime | None
    epoch: int
    hot_identity: str


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
