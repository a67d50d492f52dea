"""Two hundred clients at once against a balance for exactly one hundred requests."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream
from tollkeeper.stack.customers import Customer

PING = "/flat/ping"
CLIENTS = 200
COVERED = 100


async def rush(stage: Stage, customer: Customer) -> list[httpx.Response]:
    """So many requests at the same moment, each over a connection of its own."""
    async with stage.client(customer) as client:
        return await asyncio.gather(*(client.get(PING) for _ in range(CLIENTS)))


async def expect_exactly_the_covered(stage: Stage, books: Books, upstream: Upstream) -> None:
    """Assert that one hundred passed, at both workers, and that nothing at all is left."""
    customer = await stage.customer(COVERED * CREDIT)
    checks = "tollkeeper_authz_checks_total"
    before = await stage.authz_counts(checks, route="ping")
    answers = await rush(stage, customer)
    after = await stage.authz_counts(checks, route="ping")
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {200: COVERED, 402: CLIENTS - COVERED}
    refused = [answer.json()["error"] for answer in answers if answer.status_code == 402]
    assert {error["code"] for error in refused} == {"insufficient_credits"}
    assert {error["available_nanos"] for error in refused} == {0}
    assert all(new > old for new, old in zip(after, before, strict=True)), "one worker only"
    assert (await upstream.seen(PING))["answered"] == COVERED
    reading = await books.expect(customer, COVERED * CREDIT, *[Paid("ping", CREDIT, 1)] * COVERED)
    assert reading.posted_nanos == 0
    # Three more find the same: the account stays empty.
    async with stage.client(customer) as client:
        assert {(await client.get(PING)).status_code for _ in range(3)} == {402}


async def test_exactly_the_covered_requests_pass(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """With one Redis exactly 100 of 200 reach the upstream, and the balance ends at exactly 0."""
    await expect_exactly_the_covered(stage, books, upstream)


async def test_exactly_the_covered_requests_pass_on_a_cluster(
    cluster_stage: Stage, cluster_books: Books, cluster_upstream: Upstream
) -> None:
    """The same with a Redis Cluster of three masters in place of the single Redis."""
    await expect_exactly_the_covered(cluster_stage, cluster_books, cluster_upstream)
