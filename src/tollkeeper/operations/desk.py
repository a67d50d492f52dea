"""Where people's work is done: transactions with their actor, clock and sources of chance."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uuid_utils

from billing.accounts import Account
from billing.stores.postgres_access import (
    NOTHING_MORE,
    Connection,
    PostgresAccess,
    open_pool,
)
from billing.stores.postgres_accounts import find_account, find_customer
from billing.stores.postgres_audit import Actor, write_audit

STATEMENT_TIMEOUT_S = 60.0
"""A report over a year of one busy account takes seconds; what takes longer is stopped."""


@dataclass(frozen=True, slots=True)
class View:
    """One snapshot of Postgres, and the time at which it was taken."""

    connection: Connection
    now: datetime

    async def account(self, id_or_name: str) -> Account:
        """The account of that id or name; ``NotFound`` when there is none."""
        return await find_account(self.connection, id_or_name)


@dataclass(frozen=True, slots=True)
class Act:
    """One transaction of one actor: all of it is committed at its end, or nothing.

    ``choose`` picks one character of an alphabet, by chance that nobody can guess.
    """

    connection: Connection
    actor: Actor
    now: datetime
    new_id: Callable[[], str]
    choose: Callable[[str], str]

    async def customer(self, id_or_name: str) -> Account:
        """The account to be changed; ``InvalidInput`` for the platform's own."""
        return await find_customer(self.connection, id_or_name)

    async def record(self, action: str, account_id: str | None, detail: Mapping[str, Any]) -> None:
        """Enter a change in the audit log, in this transaction."""
        await write_audit(
            self.connection,
            self.actor,
            action=action,
            account_id=account_id,
            detail=detail,
            now=self.now,
        )


@dataclass(frozen=True, slots=True)
class Desk:
    """Opens acts and views. ``now`` is the clock, ``new_id`` makes ids that sort by time."""

    access: PostgresAccess
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    choose: Callable[[str], str]

    @asynccontextmanager
    async def act(self, actor: Actor, what: str) -> AsyncIterator[Act]:
        """A transaction of the actor; ``what`` names it in faults."""
        async with self.access.writing(what) as connection:
            yield Act(connection, actor, self.now(), self.new_id, self.choose)

    @asynccontextmanager
    async def view(self, what: str) -> AsyncIterator[View]:
        """A snapshot to read from."""
        async with self.access.reading(what) as connection:
            yield View(connection, self.now())


@asynccontextmanager
async def open_desk(
    dsn: str,
    connections: int = 1,
    statement_s: float = STATEMENT_TIMEOUT_S,
    session: Mapping[str, str] = NOTHING_MORE,
) -> AsyncIterator[Desk]:
    """A desk over a pool of its own, with the machine's clock and chance."""
    access = PostgresAccess(await open_pool(dsn, connections, statement_s, session))
    try:
        yield Desk(access, utc_now, new_id, secrets.choice)
    finally:
        await access.close()


def utc_now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7: unique, and sorted by the time at which it was made."""
    return str(uuid_utils.uuid7())
