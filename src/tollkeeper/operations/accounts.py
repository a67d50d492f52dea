"""Accounts: create, find, suspend, resume, set the overdraft."""

from __future__ import annotations

from dataclasses import asdict

from billing.accounts import Account, NewAccount, check_range
from billing.errors import Conflict
from billing.money import MAX_OVERDRAFT_NANOS
from billing.pages import Page, PageAsk
from billing.stores import postgres_accounts as store
from billing.subscriptions import AccountStatus
from tollkeeper.operations.desk import Act, View


async def create_account(act: Act, new: NewAccount) -> Account:
    """Create an account with a balance of zero; ``Conflict`` when the name is taken."""
    account = await store.insert_account(act.connection, act.new_id(), new, act.now)
    await act.record("account.create", account.id, asdict(new))
    return account


async def list_accounts(view: View, ask: PageAsk) -> Page[Account]:
    """All accounts of customers, oldest first."""
    return await store.list_accounts(view.connection, ask)


async def show_account(view: View, id_or_name: str) -> Account:
    """One account; ``NotFound`` when there is none."""
    return await view.account(id_or_name)


async def suspend_account(act: Act, id_or_name: str) -> Account:
    """Refuse all that the account asks, within a second at every worker."""
    return await _set_status(act, id_or_name, "suspended")


async def resume_account(act: Act, id_or_name: str) -> Account:
    """Let a suspended account act again."""
    return await _set_status(act, id_or_name, "active")


async def set_overdraft(act: Act, id_or_name: str, overdraft_nanos: int) -> Account:
    """Change how far below zero the balance may go, in nano-USD from 0."""
    check_range("overdraft", overdraft_nanos, 0, MAX_OVERDRAFT_NANOS)
    before = await act.customer(id_or_name)
    account = await store.set_overdraft(act.connection, before.id, overdraft_nanos)
    await act.record(
        "account.overdraft",
        account.id,
        {"from_nanos": before.overdraft_nanos, "to_nanos": overdraft_nanos},
    )
    return account


async def _set_status(act: Act, id_or_name: str, status: AccountStatus) -> Account:
    before = await act.customer(id_or_name)
    if before.status == "closed":
        raise Conflict(f"account {before.name!r} is closed")
    if before.status == status:
        return before
    account = await store.set_status(act.connection, before.id, status)
    await act.record(f"account.{status}", account.id, {"from": before.status})
    return account
