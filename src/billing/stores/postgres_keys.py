"""API keys in Postgres: only their hashes, so nothing here can be used to call.

Every function works on the connection of its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from billing.accounts import ApiKey, NewKey, looks_like_id
from billing.errors import Conflict, InvalidInput, NotFound
from billing.keys import display_digits, hash_key
from billing.pages import Page, PageAsk, cut_page
from billing.stores.postgres_access import Connection, Record
from billing.stores.queries import load_queries

SQL = load_queries("accounts.sql")
MAX_LIVE_KEYS = 1000
"""Keys of one account that work at the same time; who makes one per request stops here."""


async def insert_key(
    connection: Connection,
    account_id: str,
    new: NewKey,
    *,
    key_id: str,
    key: str,
    now: datetime,
    replaces: str | None = None,
) -> ApiKey:
    """Store a new key by its hash; ``InvalidInput`` for a past expiry or too many keys."""
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidInput("the key would have expired already")
    if await connection.fetchval(SQL["count_keys"], account_id, now) >= MAX_LIVE_KEYS:
        raise InvalidInput(f"the account has {MAX_LIVE_KEYS} live keys; revoke one first")
    row = await connection.fetchrow(
        SQL["insert_key"],
        account_id,
        key_id,
        hash_key(key),
        display_digits(key),
        new.name,
        list(new.scopes),
        new.expires_at,
        now,
        replaces,
    )
    assert row is not None, "an INSERT that did not fail has a row"
    return _key(row)


async def find_key(connection: Connection, account_id: str, key_id: str) -> ApiKey:
    """A key of the account, locked until the transaction ends; ``NotFound`` for any other."""
    row = None
    if looks_like_id(key_id):
        row = await connection.fetchrow(SQL["key_by_id"], account_id, key_id)
    if row is None:
        raise NotFound(f"the account has no key {key_id!r}")
    return _key(row)


async def find_account_of_key(connection: Connection, key_id: str) -> str:
    """The id of the account that a key belongs to; ``NotFound`` for no key."""
    found = None
    if looks_like_id(key_id):
        found = await connection.fetchval(SQL["account_of_key"], key_id)
    if not isinstance(found, str):
        raise NotFound(f"no key has the id {key_id!r}")
    return found


async def list_keys(connection: Connection, account_id: str, ask: PageAsk) -> Page[ApiKey]:
    """The keys of an account, oldest first, ended ones included."""
    after = ask.after(str)
    rows = await connection.fetch(SQL["list_keys"], account_id, after and after[0], ask.limit + 1)
    keys = [_key(row) for row in rows]
    return cut_page(keys, ask, [(key.id,) for key in keys])


async def live_keys(connection: Connection, account_id: str, now: datetime) -> Sequence[str]:
    """The ids of the keys that work and that no other key replaces, two at most."""
    return [row["id"] for row in await connection.fetch(SQL["live_keys"], account_id, now)]


async def end_key_at(
    connection: Connection, account_id: str, key_id: str, at: datetime
) -> datetime:
    """Let a key work until then, and never longer than it would have; returns its end."""
    ends_at = await connection.fetchval(SQL["end_key_at"], account_id, key_id, at)
    assert isinstance(ends_at, datetime), "the caller found the key in this transaction"
    return ends_at


async def revoke_key(connection: Connection, account_id: str, key_id: str, now: datetime) -> ApiKey:
    """End a key at once; one that was revoked before stays as it is."""
    row = await connection.fetchrow(SQL["revoke_key"], account_id, key_id, now)
    assert row is not None, "the caller found the key in this transaction"
    return _key(row)


def check_can_rotate(key: ApiKey, now: datetime) -> None:
    """Raise ``Conflict`` for a key that has ended: there is nothing left to overlap with."""
    if key.status == "revoked":
        raise Conflict(f"key {key.id} was revoked; create a new one")
    if key.expires_at is not None and key.expires_at <= now:
        raise Conflict(f"key {key.id} has expired; create a new one")


def _key(row: Record) -> ApiKey:
    return ApiKey(**{**dict(row), "scopes": tuple(row["scopes"])})
