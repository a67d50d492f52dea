"""Money that a person moves: top-ups and corrections."""

from __future__ import annotations

from billing.accounts import Against, Order, Posted
from billing.errors import Conflict
from billing.stores.postgres_orders import OrderStamp, post_order
from tollkeeper.operations.desk import Act


async def topup(act: Act, account: str, amount_nanos: int, reference: str) -> Posted:
    """Add prepaid credits once per reference; requests that were refused pass within a second."""
    return await _post(act, account, Order("topup", amount_nanos, reference))


async def correct(
    act: Act,
    account: str,
    amount_nanos: int,
    reference: str,
    *,
    reason: str,
    against: Against = "revenue",
) -> Posted:
    """Give credits back (above zero) or take them (below), once per reference, saying why."""
    return await _post(act, account, Order("correction", amount_nanos, reference, reason, against))


async def _post(act: Act, account: str, order: Order) -> Posted:
    owner = await act.customer(account)
    if owner.status == "closed":
        raise Conflict(f"account {owner.name!r} is closed")
    stamp = OrderStamp(act.new_id(), act.actor.name, act.now)
    posted = await post_order(act.connection, owner.id, order, stamp)
    if not posted.repeated:
        detail = {
            "amount_nanos": order.amount_nanos,
            "reference": order.reference,
            "reason": order.reason,
            "against": order.against,
            "id": posted.id,
        }
        await act.record(f"money.{order.kind}", owner.id, detail)
    return posted
