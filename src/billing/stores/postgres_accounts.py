"""Accounts in Postgres: who pays, and how far below zero.

Every function works on the connection of its caller's transaction.
"""

from __future__ import annotations

from datetime import datetime

from billing.accounts import Account, NewAccount, looks_like_id
from billing.errors import Conflict, InvalidInput, NotFound
from billing.ledger import PLATFORM
from billing.pages import Page, PageAsk, cut_page
from billing.stores.postgres_access import Connection, Record
from billing.stores.postgres_chain import lock_chain, post_balances
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import BalanceChange
from billing.subscriptions import AccountStatus

SQL = load_queries("accounts.sql")


async def insert_account(
    connection: Connection, account_id: str, new: NewAccount, now: datetime
) -> Account:
    """Create an account with an empty balance; ``Conflict`` when another has the name."""
    row = await connection.fetchrow(
        SQL["insert_account"],
        account_id,
        new.name,
        new.type,
        new.tier,
        new.wallet_address,
        new.overdraft_nanos,
        now,
    )
    if row is None:
        raise Conflict(f"an account has the name {new.name!r} already")
    await connection.execute(SQL["insert_credits"], account_id)
    return _account(row)


async def find_account(connection: Connection, id_or_name: str) -> Account:
    """The account of that id or name; ``NotFound`` when there is none."""
    if looks_like_id(id_or_name):
        row = await connection.fetchrow(SQL["account_by_id"], id_or_name)
    else:
        row = await connection.fetchrow(SQL["account_by_name"], id_or_name)
    if row is None:
        raise NotFound(f"no account has the id or name {id_or_name!r}")
    return _account(row)


async def find_customer(connection: Connection, id_or_name: str) -> Account:
    """:func:`find_account`, refusing the platform's own, which nobody may change."""
    account = await find_account(connection, id_or_name)
    if account.id == PLATFORM:
        raise InvalidInput("this is the platform's own account; its books follow from the others")
    return account


async def list_accounts(connection: Connection, ask: PageAsk) -> Page[Account]:
    """All accounts but the platform's, oldest first."""
    key = ask.after(str)
    rows = await connection.fetch(SQL["list_accounts"], key and key[0], ask.limit + 1)
    accounts = [_account(row) for row in rows]
    return cut_page(accounts, ask, [(account.id,) for account in accounts])


async def set_status(connection: Connection, account_id: str, status: AccountStatus) -> Account:
    """Suspend an account or let it act again; the trigger tells the workers."""
    row = await connection.fetchrow(SQL["set_account_status"], account_id, status)
    assert row is not None, "the caller found the account in this transaction"
    return _account(row)


async def set_overdraft(connection: Connection, account_id: str, overdraft_nanos: int) -> Account:
    """Change how far below zero an account may go, as a new version of its balance.

    The end of the chain is locked first: a settlement under way would publish the old overdraft
    under a newer version.
    """
    await lock_chain(connection)
    row = await connection.fetchrow(SQL["set_overdraft"], account_id, overdraft_nanos)
    assert row is not None, "the caller found the account in this transaction"
    await post_balances(connection, [BalanceChange(account_id, "credits", 0, 0)])
    await tell_balance(connection, account_id)
    return _account(row)


async def tell_balance(connection: Connection, account_id: str) -> None:
    """Have the workers publish the new balance, as soon as the transaction is committed."""
    await connection.execute(SQL["tell_balance"], account_id)


def _account(row: Record) -> Account:
    return Account(**dict(row))
