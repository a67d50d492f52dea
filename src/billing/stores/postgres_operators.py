"""Operators in Postgres: people and programs that may use the management API, by hashed tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from billing.accounts import MAX_NAME_CHARS, check_text
from billing.errors import Conflict, NotFound
from billing.pages import Page, PageAsk, cut_page
from billing.stores.postgres_access import Connection
from billing.stores.queries import load_queries

SQL = load_queries("operators.sql")

Role = Literal["read", "billing", "admin"]


@dataclass(frozen=True, slots=True)
class Operator:
    """Who may use the API. ``display`` is the last four characters of the token."""

    id: str
    name: str
    role: Role
    display: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewOperator:
    """An operator to be created."""

    name: str
    role: Role

    def __post_init__(self) -> None:
        check_text("name", self.name, 1, MAX_NAME_CHARS)


async def insert_operator(
    connection: Connection,
    new: NewOperator,
    *,
    operator_id: str,
    token_hash: bytes,
    display: str,
    now: datetime,
) -> Operator:
    """Create an operator; ``Conflict`` while another of the name is in office."""
    row = await connection.fetchrow(
        SQL["insert_operator"], operator_id, new.name, new.role, token_hash, display, now
    )
    if row is None:
        raise Conflict(f"operator {new.name!r} exists; revoke it first, or choose another name")
    return Operator(**dict(row))


async def list_operators(connection: Connection, ask: PageAsk) -> Page[Operator]:
    """All operators, oldest first, revoked ones included."""
    key = ask.after(str)
    rows = await connection.fetch(SQL["list_operators"], key and key[0], ask.limit + 1)
    operators = [Operator(**dict(row)) for row in rows]
    return cut_page(operators, ask, [(operator.id,) for operator in operators])


async def revoke_operator(connection: Connection, id_or_name: str, now: datetime) -> Operator:
    """End an operator's token at once; ``NotFound`` for nobody of that id or name."""
    row = await connection.fetchrow(SQL["revoke_operator"], id_or_name, now)
    if row is None:
        raise NotFound(f"no operator has the id or name {id_or_name!r}")
    return Operator(**dict(row))


async def operator_of_token(connection: Connection, token_hash: bytes) -> Operator | None:
    """Whose token it is, revoked or not; ``None`` for nobody's."""
    row = await connection.fetchrow(SQL["operator_of_token"], token_hash)
    return None if row is None else Operator(**dict(row))


async def note_use(connection: Connection, operator_id: str, now: datetime) -> None:
    """Remember when a token was used last, to the minute."""
    await connection.execute(SQL["operator_used"], operator_id, now)
