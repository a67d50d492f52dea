"""What an operator changes reaches both workers of the front door within one second."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx

from billing.accounts import Terms
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage
from tollkeeper.operations.accounts import resume_account, suspend_account
from tollkeeper.operations.keys import revoke_key
from tollkeeper.operations.orders import topup
from tollkeeper.operations.subscriptions import set_subscription
from tollkeeper.stack.customers import Customer

PING = "/flat/ping"
IN_A_ROW = 30
"""So many equal answers in a row: that one worker alone gave them has a chance of one to 2**29."""
DEADLINE_S = 10.0


@dataclass
class Watch:
    """Asks again and again for one customer, from before a change until all answers are new."""

    stage: Stage
    customer: Customer
    path: str = PING
    answered: int = 0
    """Requests that were let through in all."""

    async def ask(self, client: httpx.AsyncClient) -> str:
        """One answer: its code, or ``allowed``."""
        answer = await client.get(self.path)
        if answer.status_code == 200:
            self.answered += 1
            return "allowed"
        return str(answer.json()["error"]["code"])

    async def settle_on(self, code: str) -> None:
        """Ask until both workers know the customer and all answers are this one."""
        await self.last_other_s(code, time.monotonic())

    async def last_other_s(self, code: str, changed_s: float) -> float:
        """How long after the change another answer than this one was given last."""
        last_s, row = changed_s, 0
        before = await self._counts(code)
        async with self.stage.client(self.customer) as client:
            while row < IN_A_ROW:
                assert time.monotonic() < changed_s + DEADLINE_S, f"not all answers are {code}"
                asked_s = time.monotonic()
                row = row + 1 if await self.ask(client) == code else 0
                last_s = last_s if row else asked_s
        after = await self._counts(code)
        assert all(new > old for new, old in zip(after, before, strict=True)), "one worker only"
        return last_s - changed_s

    async def _counts(self, code: str) -> list[int]:
        return await self.stage.authz_counts("tollkeeper_authz_checks_total", code=code)


async def test_a_revocation(stage: Stage, books: Books) -> None:
    """A revoked key is refused by both workers within a second."""
    customer = await stage.customer(CREDIT)
    watch = Watch(stage, customer, "/self")
    await watch.settle_on("allowed")
    async with stage.act() as act:
        await revoke_key(act, customer.account_id, customer.key_id)
    assert await watch.last_other_s("revoked_key", time.monotonic()) < 1.0
    await books.expect(customer, CREDIT)


async def test_a_suspension_and_its_end(stage: Stage, books: Books) -> None:
    """A suspended account is refused within a second, and served again within another."""
    customer = await stage.customer(CREDIT)
    watch = Watch(stage, customer, "/self")
    await watch.settle_on("allowed")
    async with stage.act() as act:
        await suspend_account(act, customer.account_id)
    assert await watch.last_other_s("account_suspended", time.monotonic()) < 1.0
    async with stage.act() as act:
        await resume_account(act, customer.account_id)
    assert await watch.last_other_s("allowed", time.monotonic()) < 1.0
    await books.expect(customer, CREDIT)


async def test_a_subscription(stage: Stage, books: Books) -> None:
    """Cancelling and renewing a subscription are in force within a second each."""
    paid_in = 1_000 * CREDIT
    customer = await stage.customer(paid_in)
    watch = Watch(stage, customer)
    await watch.settle_on("allowed")
    async with stage.act() as act:
        await set_subscription(act, customer.account_id, "llm", Terms("unlimited", "cancelled"))
    assert await watch.last_other_s("subscription_cancelled", time.monotonic()) < 1.0
    async with stage.act() as act:
        await set_subscription(act, customer.account_id, "llm", Terms("unlimited"))
    assert await watch.last_other_s("allowed", time.monotonic()) < 1.0
    await books.expect(customer, paid_in, *[Paid("ping", CREDIT, 1)] * watch.answered)


async def test_a_top_up(stage: Stage, books: Books) -> None:
    """A payment unblocks an account that both workers refused, within a second."""
    customer = await stage.customer(0)
    watch = Watch(stage, customer)
    await watch.settle_on("insufficient_credits")
    async with stage.act() as act:
        await topup(act, customer.account_id, 1_000 * CREDIT, "invoice 1")
    assert await watch.last_other_s("allowed", time.monotonic()) < 1.0
    await books.expect(customer, 1_000 * CREDIT, *[Paid("ping", CREDIT, 1)] * watch.answered)
