"""A ledger with every kind of row in it, for whoever checks ledgers."""

from __future__ import annotations

from datetime import timedelta

from billing.accounts import Account
from tests.contract.desks import ANNA, Office
from tests.contract.paid_work import CHARGING_ROUTE, PaidWork
from tollkeeper.operations import orders


async def every_kind(office: Office, account: Account, suffix: str = "") -> None:
    """Every kind of transfer but a top-up, and a reservation in every state."""
    work = PaidWork(office)
    settled, released = work.request(account, 40), work.unbilled(account)
    late = work.request(account, 30, route=CHARGING_ROUTE)
    expired = work.request(account, 0)
    await work.admit(settled, released, late, expired)
    await work.settle(settled, released)
    await work.expire()
    await work.settle(late)
    async with office.desk.act(ANNA, "test") as act:
        await orders.correct(act, account.id, -7, f"fix{suffix}", reason="typo")
    await work.admit(work.request(account, 0))
    office.clock.forward(timedelta(seconds=5))
