"""API keys: create, list, rotate with an overlap, revoke."""

from __future__ import annotations

from datetime import timedelta

from billing.accounts import ApiKey, IssuedKey, NewKey
from billing.errors import Conflict, InvalidInput
from billing.keys import generate_key
from billing.pages import Page, PageAsk
from billing.stores import postgres_keys as store
from tollkeeper.operations.desk import Act, View

DEFAULT_OVERLAP = timedelta(hours=24)
"""Long enough to roll a new key out over a day of deployments."""
MAX_OVERLAP = timedelta(days=90)


async def create_key(act: Act, account: str, new: NewKey) -> IssuedKey:
    """Make a key; its text is in the answer and nowhere else, ever."""
    owner = await act.customer(account)
    issued = await _issue(act, owner.id, new, replaces=None)
    await act.record("key.create", owner.id, _told(issued.record))
    return issued


async def list_keys(view: View, account: str, ask: PageAsk) -> Page[ApiKey]:
    """The keys of an account, oldest first, ended ones included."""
    owner = await view.account(account)
    return await store.list_keys(view.connection, owner.id, ask)


async def rotate_key(
    act: Act, account: str, key_id: str, overlap: timedelta = DEFAULT_OVERLAP
) -> IssuedKey:
    """Replace a key by a new one of the same name and scopes; both work during the overlap.

    A key that would have ended sooner still does, and its replacement has no end of its own.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidInput(f"an overlap lasts up to {MAX_OVERLAP.days} days")
    owner = await act.customer(account)
    old = await store.find_key(act.connection, owner.id, key_id)
    store.check_can_rotate(old, act.now)
    issued = await _issue(act, owner.id, NewKey(old.name, old.scopes), replaces=old.id)
    ends_at = await store.end_key_at(act.connection, owner.id, old.id, act.now + overlap)
    await act.record("key.rotate", owner.id, {**_told(issued.record), "old_ends_at": ends_at})
    return IssuedKey(issued.id, issued.key, issued.record, ends_at)


async def revoke_key(act: Act, account: str, key_id: str) -> ApiKey:
    """End a key within a second at every worker; revoking twice changes nothing."""
    owner = await act.customer(account)
    before = await store.find_key(act.connection, owner.id, key_id)
    if before.status == "revoked":
        return before
    key = await store.revoke_key(act.connection, owner.id, before.id, act.now)
    await act.record("key.revoke", owner.id, _told(key))
    return key


async def owner_of_key(act: Act, key_id: str) -> str:
    """The id of the account that a key belongs to, where only the key's id is known."""
    return await store.find_account_of_key(act.connection, key_id)


async def only_live_key(act: Act, account_id: str) -> str:
    """The id of the one key that works; ``Conflict`` when there are several, or none."""
    found = await store.live_keys(act.connection, account_id, act.now)
    if len(found) != 1:
        raise Conflict(f"{len(found)} keys work; name one by its key_id")
    return found[0]


async def _issue(act: Act, account_id: str, new: NewKey, *, replaces: str | None) -> IssuedKey:
    text = generate_key(act.choose)
    record = await store.insert_key(
        act.connection,
        account_id,
        new,
        key_id=act.new_id(),
        key=text,
        now=act.now,
        replaces=replaces,
    )
    return IssuedKey(record.id, text, record)


def _told(key: ApiKey) -> dict[str, object]:
    """What the audit log says of a key."""
    return {
        "key_id": key.id,
        "name": key.name,
        "display": key.display,
        "scopes": key.scopes,
        "expires_at": key.expires_at,
        "replaces": key.replaces,
    }
