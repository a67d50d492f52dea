"""Who changed what, and what was answered to a request that may be repeated.

Both are written in the transaction of the change itself, so neither can be there without the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from billing.accounts import check_text
from billing.errors import Conflict, StoreUnavailable
from billing.pages import Page, PageAsk, cut_page
from billing.stores.postgres_access import Connection
from billing.stores.queries import load_queries

SQL = load_queries("operators.sql")

Via = Literal["cli", "api", "self_service", "reload"]

ANSWERS_KEPT_FOR = timedelta(days=7)
"""How long an Idempotency-Key is remembered; clients retry within hours."""


class Actor(NamedTuple):
    """Who acts, and by which way in."""

    name: str
    via: Via


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change; ``detail`` holds what was asked for, never a key or a token."""

    id: int
    at: datetime
    actor: str
    via: Via
    action: str
    account_id: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that its sender may repeat: ``owner`` sent it under ``key``.

    ``digest`` is the SHA-256 of what was asked, by which another request of the key is known.
    """

    owner: str
    key: str
    digest: bytes

    def __post_init__(self) -> None:
        check_text("Idempotency-Key", self.key, 1, 200)
        assert len(self.digest) == 32, "a SHA-256"


async def write_audit(
    connection: Connection,
    actor: Actor,
    *,
    action: str,
    account_id: str | None,
    detail: Mapping[str, Any],
    now: datetime,
) -> None:
    """Record a change in the transaction that makes it."""
    await connection.execute(
        SQL["insert_audit"],
        now,
        actor.name,
        actor.via,
        action,
        account_id,
        json.dumps(detail, default=str),
    )


async def list_audit(
    connection: Connection, account_id: str | None, ask: PageAsk
) -> Page[AuditEntry]:
    """What was changed, newest first; of one account, or of all."""
    key = ask.after(int)
    rows = await connection.fetch(SQL["list_audit"], account_id, key and key[0], ask.limit + 1)
    entries = [AuditEntry(**{**dict(row), "detail": json.loads(row["detail"])}) for row in rows]
    return cut_page(entries, ask, [(entry.id,) for entry in entries])


async def earlier_answer(connection: Connection, request: Repeatable, now: datetime) -> Any | None:
    """Claim the key, or return what was answered under it before.

    A request under way with the same key is waited for. ``Conflict`` when it asked something else.
    """
    await connection.execute(SQL["forget_old_answers"], now - ANSWERS_KEPT_FOR)
    claimed = await connection.fetchval(
        SQL["claim_idempotency_key"], request.owner, request.key, request.digest, now
    )
    if claimed is not None:
        return None
    row = await connection.fetchrow(SQL["answer_of_key"], request.owner, request.key)
    if row is None:
        raise StoreUnavailable("this Idempotency-Key is so old that it was just forgotten")
    if row["digest"] != request.digest:
        raise Conflict("this Idempotency-Key came with another request; use a new one")
    return json.loads(row["answer"])


async def remember_answer(connection: Connection, request: Repeatable, answer: Any) -> None:
    """Keep what is answered under a claimed key; it must hold no key and no token."""
    await connection.execute(SQL["remember_answer"], request.owner, request.key, json.dumps(answer))
