"""Who calls the management API, what their role allows, and how their changes are made once."""

# Annotations are evaluated here: those of the dependencies below name what only their makers know.
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import msgspec
from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from billing.catalog import Catalog
from billing.stores.postgres_audit import Actor, Repeatable, earlier_answer, remember_answer
from billing.stores.postgres_operators import Operator, Role, note_use, operator_of_token
from tollkeeper.admin.bodies import IdempotencyKey
from tollkeeper.admin.problems import Forbidden, Unauthorized
from tollkeeper.operations.desk import Act, Desk, View
from tollkeeper.operations.operators import token_hash

Answer = TypeVar("Answer")

ROLES: tuple[Role, ...] = ("read", "billing", "admin")
"""Each may do what those before it may: see; move money and set terms; everything."""

REPLAYED = {"idempotency-replayed": "true"}

bearer = HTTPBearer(auto_error=False, description="An operator's token.")


@dataclass(frozen=True, slots=True)
class AdminDeps:
    """What the API stands on.

    ``catalog`` gives the one in force, for estimates. ``gateway_secret`` is what the gateway proves
    itself with on self-service routes; without one there are none.
    """

    desk: Desk
    catalog: Callable[[], Catalog]
    gateway_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """An operator with a token that is in office, and the request that is under way."""

    desk: Desk
    operator: Operator
    repeatable: Repeatable | None = None

    async def see(self, what: str, work: Callable[[View], Awaitable[Answer]]) -> Answer:
        """Take one view."""
        async with self.desk.view(what) as view:
            return await work(view)

    async def do(
        self,
        what: str,
        work: Callable[[Act], Awaitable[object]],
        *,
        status: int = 200,
        shown_once: str | None = None,
    ) -> JSONResponse:
        """Do one act and answer with its result; a repetition gets the same answer, once made.

        The field ``shown_once`` of the answer is shown to the first caller only and never kept.
        """
        actor = Actor(self.operator.name, "api")
        return await do_once(
            self.desk,
            actor,
            what,
            work,
            status=status,
            repeatable=self.repeatable,
            shown_once=shown_once,
        )


async def do_once(
    desk: Desk,
    actor: Actor,
    what: str,
    work: Callable[[Act], Awaitable[object]],
    *,
    status: int,
    repeatable: Repeatable | None,
    shown_once: str | None,
) -> JSONResponse:
    """One act of an actor; change, audit entry and remembered answer are one transaction."""
    async with desk.act(actor, what) as act:
        if repeatable is not None:
            earlier = await earlier_answer(act.connection, repeatable, act.now)
            if earlier is not None:
                return JSONResponse(earlier["body"], earlier["status"], REPLAYED)
        body = msgspec.to_builtins(await work(act))
        if repeatable is not None:
            kept = {**body, shown_once: None} if shown_once is not None else body
            await remember_answer(act.connection, repeatable, {"status": status, "body": kept})
    return JSONResponse(body, status)


def answer(value: object, status: int = 200) -> JSONResponse:
    """A value as JSON: amounts whole, times in UTC."""
    return JSONResponse(msgspec.to_builtins(value), status)


def deps_of(request: Request) -> AdminDeps:
    """What the running app was given."""
    deps = request.app.state.deps
    assert isinstance(deps, AdminDeps)
    return deps


async def _caller(
    deps: Annotated[AdminDeps, Depends(deps_of)],
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Find out who calls; the token is looked up by its hash."""
    if given is None:
        raise Unauthorized("send an operator's token as `Authorization: Bearer tko_...`")
    async with deps.desk.access.writing("who calls") as connection:
        operator = await operator_of_token(connection, token_hash(given.credentials))
        if operator is None or operator.revoked_at is not None:
            raise Unauthorized("no operator in office has this token")
        await note_use(connection, operator.id, deps.desk.now())
    return Caller(deps.desk, operator)


async def repeatable_of(request: Request, owner: str, key: str | None) -> Repeatable | None:
    """What makes this request the same as another one of its Idempotency-Key."""
    if key is None:
        return None
    digest = hashlib.sha256()
    for part in (request.method.encode(), request.url.path.encode(), await request.body()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return Repeatable(owner, key, digest.digest())


def _allowed(role: Role) -> Callable[[Caller], Awaitable[Caller]]:
    async def judge(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if ROLES.index(caller.operator.role) < ROLES.index(role):
            raise Forbidden(f"this needs the role {role}; yours is {caller.operator.role}")
        return caller

    return judge


def _changing(role: Role) -> Callable[..., Awaitable[Caller]]:
    """Who may change something, and may repeat that under an Idempotency-Key."""

    async def judge(
        request: Request,
        caller: Annotated[Caller, Depends(_allowed(role))],
        idempotency_key: IdempotencyKey = None,
    ) -> Caller:
        repeatable = await repeatable_of(request, caller.operator.id, idempotency_key)
        return replace(caller, repeatable=repeatable)

    return judge


Reader = Annotated[Caller, Depends(_allowed("read"))]
AdminReader = Annotated[Caller, Depends(_allowed("admin"))]
Biller = Annotated[Caller, Depends(_changing("billing"))]
Administrator = Annotated[Caller, Depends(_changing("admin"))]
