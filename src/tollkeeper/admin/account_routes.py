"""``/v1/accounts``: who pays, and on which terms."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from billing.accounts import Account, NewAccount, SubscriptionState, Terms
from billing.money import parse_usd
from billing.pages import PageAsk
from tollkeeper.admin.bodies import (
    AccountBody,
    AccountPath,
    NamePath,
    OverdraftBody,
    PageOut,
    SubscriptionBody,
    page_of,
)
from tollkeeper.admin.callers import Administrator, Biller, Reader, answer
from tollkeeper.operations import accounts, subscriptions

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])


@router.get("", response_model=PageOut[Account])
async def list_accounts(caller: Reader, ask: Annotated[PageAsk, Depends(page_of)]) -> JSONResponse:
    """List accounts, oldest first."""
    return answer(await caller.see("accounts", lambda v: accounts.list_accounts(v, ask)))


@router.post("", response_model=Account, status_code=201)
async def create_account(caller: Administrator, body: AccountBody) -> JSONResponse:
    """Create an account with a balance of zero."""
    new = NewAccount(
        body.name, body.type, body.tier, body.wallet_address, parse_usd(body.overdraft_usd)
    )
    return await caller.do("account", lambda a: accounts.create_account(a, new), status=201)


@router.get("/{account}", response_model=Account)
async def show_account(caller: Reader, account: AccountPath) -> JSONResponse:
    """Show one account."""
    return answer(await caller.see("account", lambda v: accounts.show_account(v, account)))


@router.post("/{account}/suspend", response_model=Account)
async def suspend_account(caller: Administrator, account: AccountPath) -> JSONResponse:
    """Refuse all that the account asks, within a second at every worker."""
    return await caller.do("suspend", lambda a: accounts.suspend_account(a, account))


@router.post("/{account}/resume", response_model=Account)
async def resume_account(caller: Administrator, account: AccountPath) -> JSONResponse:
    """Let a suspended account act again."""
    return await caller.do("resume", lambda a: accounts.resume_account(a, account))


@router.put("/{account}/overdraft", response_model=Account)
async def set_overdraft(
    caller: Biller,
    account: AccountPath,
    body: OverdraftBody,
) -> JSONResponse:
    """Change how far below zero the balance may go."""
    nanos = parse_usd(body.overdraft_usd)
    return await caller.do("overdraft", lambda a: accounts.set_overdraft(a, account, nanos))


@router.get("/{account}/subscriptions", response_model=list[SubscriptionState])
async def list_subscriptions(caller: Reader, account: AccountPath) -> JSONResponse:
    """List what an account is subscribed to."""
    states = await caller.see(
        "subscriptions", lambda v: subscriptions.list_subscriptions(v, account)
    )
    return answer(states)


@router.put("/{account}/subscriptions/{profile}", response_model=SubscriptionState)
async def set_subscription(
    caller: Biller,
    account: AccountPath,
    profile: NamePath,
    body: SubscriptionBody,
) -> JSONResponse:
    """Subscribe an account to a profile, or change its terms; the running period goes on."""
    terms = Terms(**body.model_dump())
    return await caller.do(
        "subscription", lambda a: subscriptions.set_subscription(a, account, profile, terms)
    )
