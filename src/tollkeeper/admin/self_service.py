"""``/account/*``: what customers see and do themselves, through the gateway.

The gateway authenticates the customer's own API key and says whose it is in one header. That header
is believed only beside the secret that the gateway and we share, so nobody can name an account by
reaching us around the gateway; and no field of a request can name one.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from billing.accounts import Account, ApiKey, IssuedKey, looks_like_id
from billing.errors import InvalidInput
from billing.pages import PageAsk
from billing.reports import Explanation, UsageBy, UsageEvent
from billing.stores.postgres_audit import Actor, Repeatable
from tollkeeper.admin.bodies import (
    IdempotencyKey,
    IdPath,
    IssuedKeyOut,
    OwnAccountOut,
    OwnExplanationOut,
    OwnRotationBody,
    OwnUsageOut,
    PageOut,
    page_of,
)
from tollkeeper.admin.callers import AdminDeps, answer, deps_of, do_once, repeatable_of
from tollkeeper.admin.problems import Forbidden
from tollkeeper.admin.report_routes import balance_out
from tollkeeper.operations import accounts, keys, reports
from tollkeeper.operations.desk import Act, Desk, View

ACCOUNT_HEADER = "x-tollkeeper-account"
GATEWAY_HEADER = "x-tollkeeper-gateway"
RECENT_REQUESTS = 10
BY_MODEL: tuple[UsageBy, ...] = ("model",)

router = APIRouter(prefix="/account", tags=["self-service"])


@dataclass(frozen=True, slots=True)
class Customer:
    """Whose key the gateway has seen."""

    desk: Desk
    account_id: str


async def _customer(request: Request, deps: Annotated[AdminDeps, Depends(deps_of)]) -> Customer:
    """Believe the gateway, and nobody else."""
    given = request.headers.getlist(GATEWAY_HEADER)
    named = request.headers.getlist(ACCOUNT_HEADER)
    secret = deps.gateway_secret or ""
    proved = len(given) == 1 and hmac.compare_digest(given[0].encode(), secret.encode())
    if not secret or not proved:
        raise Forbidden("this is reached through the gateway, with your API key")
    if len(named) != 1 or not looks_like_id(named[0]):
        raise Forbidden("the gateway did not say whose key it was")
    return Customer(deps.desk, named[0])


async def _repeatable(
    request: Request,
    own: Annotated[Customer, Depends(_customer)],
    idempotency_key: IdempotencyKey = None,
) -> Repeatable | None:
    return await repeatable_of(request, own.account_id, idempotency_key)


Own = Annotated[Customer, Depends(_customer)]


@router.get("/validate", response_model=OwnAccountOut)
async def validate(own: Own) -> JSONResponse:
    """Say whose key it is, and that it works."""
    async with own.desk.view("validate") as view:
        found: Account = await accounts.show_account(view, own.account_id)
    return answer(
        {
            "account_id": found.id,
            "name": found.name,
            "status": found.status,
            "tier": found.tier,
        }
    )


@router.get("/usage", response_model=OwnUsageOut)
async def usage(own: Own) -> JSONResponse:
    """Balance, totals of the last thirty days, totals by model, and the last requests."""
    async with own.desk.view("own usage") as view:
        return answer(await _usage(view, own.account_id))


@router.get("/requests/{request_id}", response_model=OwnExplanationOut)
async def explain(own: Own, request_id: IdPath) -> JSONResponse:
    """What one request cost, and why. Those of others do not exist here."""
    async with own.desk.view("own request") as view:
        found = await reports.explain(view, request_id, own.account_id)
    return answer(_explained(found))


@router.get("/keys", response_model=PageOut[ApiKey])
async def list_keys(own: Own, ask: Annotated[PageAsk, Depends(page_of)]) -> JSONResponse:
    """List your keys by their last characters."""
    async with own.desk.view("own keys") as view:
        return answer(await keys.list_keys(view, own.account_id, ask))


@router.post("/keys/rotate", response_model=IssuedKeyOut, status_code=201)
async def rotate_key(
    own: Own,
    body: OwnRotationBody,
    repeatable: Annotated[Repeatable | None, Depends(_repeatable)],
) -> JSONResponse:
    """Replace a key by a new one; both work during the overlap.

    Without ``key_id`` the account's only live key is meant.
    """

    async def work(act: Act) -> IssuedKey:
        key_id = body.key_id or await keys.only_live_key(act, own.account_id)
        overlap = timedelta(seconds=body.overlap_s)
        return await keys.rotate_key(act, own.account_id, key_id, overlap)

    return await do_once(
        own.desk,
        Actor(f"account {own.account_id}", "self_service"),
        "own rotation",
        work,
        status=201,
        repeatable=repeatable,
        shown_once="key",
    )


async def _usage(view: View, account_id: str) -> dict[str, object]:
    span = reports.span_until_today(view, None, None)
    page = await reports.usage(view, account_id, span, BY_MODEL, PageAsk(1000))
    recent = await reports.requests(view, account_id, PageAsk(RECENT_REQUESTS))
    if page.next_cursor is not None:
        raise InvalidInput("more than 1000 models were used; ask the operator for a report")
    rows = page.rows
    return {
        "balance": balance_out(await reports.balance(view, account_id)),
        "since": span.since,
        "until": span.until,
        "requests": sum(row.requests for row in rows),
        "units": sum(row.units for row in rows),
        "price_nanos": sum(row.price_nanos for row in rows),
        "by_model": [
            {
                "model": row.model,
                "requests": row.requests,
                "units": row.units,
                "price_nanos": row.price_nanos,
            }
            for row in rows
        ],
        "recent": [_recent(event) for event in recent.rows],
    }


def _recent(event: UsageEvent) -> dict[str, object]:
    return {
        "id": event.id,
        "at": event.admitted_at,
        "route": event.route,
        "model": event.model,
        "units": event.units,
        "price_nanos": event.price_nanos,
        "status": event.status,
    }


def _explained(found: Explanation) -> dict[str, object]:
    """What concerns the customer: neither the provider's cost nor the books of the platform."""
    reservation, event = found.reservation, found.event
    return {
        "id": reservation.id,
        "state": reservation.state,
        "route": reservation.route,
        "admitted_at": reservation.admitted_at,
        "ended_at": reservation.ended_at,
        "held_nanos": reservation.held_nanos,
        "price_version": reservation.price_version,
        "price_nanos": None if event is None else event.price_nanos,
        "units": None if event is None else event.units,
        "formula": None if event is None else event.formula.partition(";")[0],
        "entries": [
            {
                "kind": entry.kind,
                "amount_nanos": entry.amount_nanos,
                "posted_at": entry.posted_at,
            }
            for entry in found.entries
            if "credits" in (entry.debit_code, entry.credit_code)
        ],
    }
