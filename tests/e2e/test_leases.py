"""Accounts that ask so often that both workers admit them from leases: bounds are kept exactly, and
what an operator changes is in force as soon as without."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.e2e.hammering import ALLOWED, Heard, drawn, hammered, send
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import BRISK_BURST, BRISK_RPS, CREDIT, Stage, Upstream
from tollkeeper.operations.accounts import suspend_account
from tollkeeper.operations.desk import Act
from tollkeeper.operations.keys import revoke_key
from tollkeeper.stack.customers import Customer

PING = "/flat/ping"
PINGED = Paid("ping", CREDIT, 1)
CLIENTS = 20
COVERED = 600
EACH = 50
INLINE = "/inline"
CALM_CLIENTS = 8
CALM_PAUSE_S = 0.11
"""So they ask often enough for leases, and less often than the rate allows."""


async def expect_exactly_the_covered(stage: Stage, books: Books, upstream: Upstream) -> None:
    """Assert that exactly so many of a thousand requests passed, that both workers drew from
    leases, and that nothing at all is left."""
    customer = await stage.customer(COVERED * CREDIT)
    before = await drawn(stage)
    heard = await send(stage, customer, PING, CLIENTS, EACH)
    after = await drawn(stage)
    codes = Counter(one.code for one in heard)
    assert codes == {ALLOWED: COVERED, "insufficient_credits": CLIENTS * EACH - COVERED}
    assert all(new > old for new, old in zip(after, before, strict=True)), (before, after)
    assert (await upstream.seen(PING))["answered"] == COVERED
    reading = await books.expect(customer, COVERED * CREDIT, *[PINGED] * COVERED)
    assert reading.posted_nanos == 0
    copy = (await books.hot.read([customer.account_id]))[customer.account_id]
    assert copy.leases == []
    assert {one.code for one in await send(stage, customer, PING, 1, 3)} == {"insufficient_credits"}


async def test_a_leased_balance_is_spent_exactly(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Of a thousand requests at two workers 600 are paid, and the balance ends at exactly 0."""
    await expect_exactly_the_covered(stage, books, upstream)


async def test_a_leased_balance_is_spent_exactly_on_a_cluster(
    cluster_stage: Stage, cluster_books: Books, cluster_upstream: Upstream
) -> None:
    """The same with a Redis Cluster of three masters in place of the single Redis."""
    await expect_exactly_the_covered(cluster_stage, cluster_books, cluster_upstream)


async def suspend(act: Act, customer: Customer) -> None:
    await suspend_account(act, customer.account_id)


async def revoke(act: Act, customer: Customer) -> None:
    await revoke_key(act, customer.account_id, customer.key_id)


@pytest.mark.parametrize(
    ("change", "code"), [(suspend, "account_suspended"), (revoke, "revoked_key")]
)
async def test_a_lease_does_not_outlive_access(
    stage: Stage,
    books: Books,
    change: Callable[[Act, Customer], Coroutine[Any, Any, None]],
    code: str,
) -> None:
    """An account that is suspended, or a key that is revoked, while both workers have a lease is
    refused by both within a second, and the leases go back."""
    paid_in = 100_000 * CREDIT
    customer = await stage.customer(paid_in)
    before = await drawn(stage)
    async with hammered(stage, customer, PING, CLIENTS) as heard:
        async with stage.act() as act:
            await change(act, customer)
        changed_s = time.monotonic()
        await asyncio.sleep(2.0)
    after = await drawn(stage)
    passed = [one for one in heard if one.code == ALLOWED]
    assert {one.code for one in heard} == {ALLOWED, code}
    assert max(one.asked_s for one in passed) < changed_s + 1.0
    assert all(new > old for new, old in zip(after, before, strict=True)), (before, after)
    await books.expect(customer, paid_in, *[PINGED] * len(passed))
    copy = (await books.hot.read([customer.account_id]))[customer.account_id]
    assert copy.leases == []


def most_past_the_rate(passed: list[Heard]) -> float:
    """By how many requests any time between a question and an answer saw more than the burst and
    the rate allow; below 0 when none did."""
    most = float("-inf")
    for begin_s in {one.asked_s for one in passed}:
        within = sorted(one.heard_s for one in passed if one.asked_s >= begin_s)
        for number, end_s in enumerate(within, 1):
            most = max(most, number - BRISK_BURST - BRISK_RPS * (end_s - begin_s))
    return most


async def test_a_rate_is_kept_from_leases(stage: Stage, books: Books) -> None:
    """While both workers have leases of a plan with a rate inline, more come than it allows: in no
    span of time pass more than its burst and what the rate adds."""
    paid_in = 100_000 * CREDIT
    customer = await stage.customer(paid_in, plan="brisk")
    async with hammered(stage, customer, INLINE, CALM_CLIENTS, CALM_PAUSE_S) as heard:
        before = await drawn(stage)
        await asyncio.sleep(1.0)
        after = await drawn(stage)
        flood = await send(stage, customer, INLINE, CLIENTS, EACH)
    assert all(new > old for new, old in zip(after, before, strict=True)), (before, after)
    passed = [one for one in (*heard, *flood) if one.code == ALLOWED]
    assert {one.code for one in flood} == {ALLOWED, "rate_limited"}
    assert most_past_the_rate(passed) <= 0
    await books.expect(customer, paid_in, *[Paid("inline_ping", CREDIT, 1)] * len(passed))
