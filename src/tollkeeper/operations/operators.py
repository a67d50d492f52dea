"""Operators of the management API: create, list, revoke, and whose a token is.

A token is ``tko_`` + 43 characters; only its SHA-256 is stored.
"""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass

from billing.pages import Page, PageAsk
from billing.stores import postgres_operators as store
from billing.stores.postgres_audit import AuditEntry, list_audit
from billing.stores.postgres_operators import NewOperator, Operator
from tollkeeper.operations.desk import Act, View

TOKEN_PREFIX = "tko_"  # noqa: S105 - what all tokens begin with, not one of them
TOKEN_CHARS = 43
"""Base62 characters of chance: 256 bits."""
_ALPHABET = string.digits + string.ascii_letters


@dataclass(frozen=True, slots=True)
class IssuedOperator:
    """A new operator with the token, which nobody can read again."""

    id: str
    token: str
    record: Operator


async def create_operator(act: Act, new: NewOperator) -> IssuedOperator:
    """Make an operator and its token; the token is in the answer and nowhere else, ever."""
    token = TOKEN_PREFIX + "".join(act.choose(_ALPHABET) for _ in range(TOKEN_CHARS))
    operator = await store.insert_operator(
        act.connection,
        new,
        operator_id=act.new_id(),
        token_hash=token_hash(token),
        display=token[-4:],
        now=act.now,
    )
    detail = {"operator_id": operator.id, "name": new.name, "role": new.role}
    await act.record("operator.create", None, detail)
    return IssuedOperator(operator.id, token, operator)


async def list_operators(view: View, ask: PageAsk) -> Page[Operator]:
    """All operators, revoked ones included."""
    return await store.list_operators(view.connection, ask)


async def revoke_operator(act: Act, id_or_name: str) -> Operator:
    """End an operator's token from the next request on."""
    operator = await store.revoke_operator(act.connection, id_or_name, act.now)
    detail = {"operator_id": operator.id, "name": operator.name}
    await act.record("operator.revoke", None, detail)
    return operator


async def audit_log(view: View, account: str | None, ask: PageAsk) -> Page[AuditEntry]:
    """Who changed what, newest first; of one account, or of everything."""
    account_id = None if account is None else (await view.account(account)).id
    return await list_audit(view.connection, account_id, ask)


def token_hash(token: str) -> bytes:
    """SHA-256 of a token: what is stored and looked up."""
    return hashlib.sha256(token.encode()).digest()
