"""Top-ups and corrections: money that moves because a person said so, once per reference.

Like settlement they go through :mod:`billing.stores.postgres_chain`, so they are links of the same
hash chain, and the balance that they lead to is a new version of the account.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from billing.accounts import Order, Posted
from billing.errors import Conflict, InvalidInput
from billing.ledger import LedgerCode, Transfer, make_transfer
from billing.money import MAX_NANOS
from billing.stores.postgres_access import Connection, Record
from billing.stores.postgres_accounts import tell_balance
from billing.stores.postgres_chain import ChainHead, append_batch, lock_chain, post_balances
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import balance_changes

SQL = load_queries("accounts.sql")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OrderStamp(NamedTuple):
    """Who posts an order and when; ``order_id`` becomes its id in the ledger if it is new."""

    order_id: str
    by: str
    now: datetime

    @property
    def now_us(self) -> int:
        """Unix time in microseconds, without the error of a float."""
        return (self.now - EPOCH) // timedelta(microseconds=1)


async def post_order(
    connection: Connection, account_id: str, order: Order, stamp: OrderStamp
) -> Posted:
    """Move money by an order, once: a repeated reference changes nothing and says so.

    ``Conflict`` when the account has another order of that reference; ``InvalidInput`` when the
    account's turnover would go beyond what the ledger can hold.
    """
    head = await lock_chain(connection)
    known = await connection.fetchrow(SQL["order_by_reference"], account_id, order.reference)
    given, taken = await _turnover(connection, account_id)
    if known is not None:
        _check_same(known, order)
        return _posted(known["id"], account_id, order, taken - given, repeated=True)
    _check_room(order, given, taken)
    posted_nanos = await _write(connection, head, account_id, order, stamp)
    return _posted(stamp.order_id, account_id, order, posted_nanos, repeated=False)


def order_transfer(account_id: str, order: Order, stamp: OrderStamp) -> Transfer:
    """The one transfer of an order: from the other side to the customer's credits, or back."""
    if order.kind == "topup":
        return make_transfer(account_id, stamp.order_id, "topup", order.amount_nanos, stamp.now_us)
    sides: tuple[LedgerCode, LedgerCode] = (order.against, "credits")
    debit, credit = sides if order.amount_nanos > 0 else sides[::-1]
    amount_nanos = abs(order.amount_nanos)
    assert 0 < amount_nanos <= MAX_NANOS, order
    return Transfer(
        account_id, stamp.order_id, "correction", debit, credit, amount_nanos, stamp.now_us
    )


async def _write(
    connection: Connection, head: ChainHead, account_id: str, order: Order, stamp: OrderStamp
) -> int:
    transfer = order_transfer(account_id, order, stamp)
    await connection.execute(
        SQL["insert_order"],
        account_id,
        order.reference,
        stamp.order_id,
        order.kind,
        order.amount_nanos,
        order.reason,
        stamp.by,
        stamp.now,
    )
    await append_batch(connection, head, order.kind, [transfer], ())
    balances = await post_balances(connection, balance_changes([account_id], [transfer]))
    await tell_balance(connection, account_id)
    return balances[account_id].posted_nanos


async def _turnover(connection: Connection, account_id: str) -> tuple[int, int]:
    """All debits and all credits of an account's prepaid credits."""
    row = await connection.fetchrow(SQL["credits_of"], account_id)
    assert row is not None, "an account has a credits row from its creation on"
    return row["debits"], row["credits"]


def _check_same(known: Record, order: Order) -> None:
    against = known["debit_code"] if known["credit_code"] == "credits" else known["credit_code"]
    if (known["kind"], known["amount"], against) != (
        order.kind,
        order.amount_nanos,
        order.against,
    ):
        raise Conflict(
            f"reference {order.reference!r} was posted as a {known['kind']} of {known['amount']} "
            f"nano-USD against {against}; use another reference"
        )


def _check_room(order: Order, given: int, taken: int) -> None:
    turnover = (taken if order.amount_nanos > 0 else given) + abs(order.amount_nanos)
    if turnover > MAX_NANOS:
        raise InvalidInput("the account's turnover would be beyond what the ledger can hold")


def _posted(
    order_id: str, account_id: str, order: Order, posted_nanos: int, *, repeated: bool
) -> Posted:
    return Posted(
        order_id,
        account_id,
        order.reference,
        order.kind,
        order.amount_nanos,
        posted_nanos,
        repeated,
    )
