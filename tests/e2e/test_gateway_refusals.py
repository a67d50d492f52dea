"""What the gateway says when it knows no route, gets too much, or nobody decides; and recovery."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from ruamel.yaml import YAML

from billing.accounts import Terms
from devstack import Part
from tests.e2e.doors import check
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream
from tollkeeper.operations.subscriptions import set_subscription

PING = "/flat/ping"
RPC = "/rpc/ethereum"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": ["secretly"]}
PINGED = Paid("ping", CREDIT, 1)
FLOOD = 40
SOON_S = 10.0


async def until(client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    """Ask until the answer has this status, for some seconds at most."""
    deadline_s = time.monotonic() + SOON_S
    while (answer := await client.get(path)).status_code != status:
        assert time.monotonic() < deadline_s, f"still {answer.status_code}"
        await asyncio.sleep(0.05)
    return answer


@asynccontextmanager
async def killed(stage: Stage, *workers: Part) -> AsyncIterator[None]:
    """Workers that are dead inside, with all their processes, and after it serve again."""
    for worker in workers:
        await worker.kill()
    try:
        for worker in workers:
            await until_nobody_listens(worker.address)
        yield
    finally:
        await asyncio.gather(*(worker.start() for worker in workers))
        await until_all_are_healthy(stage)


async def until_all_are_healthy(stage: Stage) -> None:
    """Wait until Envoy's health checks have found every worker of the front door."""
    url = f"http://{stage.stack.settings.envoy_admin_listen}/stats"
    wanted = f"cluster.tollkeeper_authz.membership_healthy: {len(workers_of(stage))}"
    deadline_s = time.monotonic() + SOON_S
    async with httpx.AsyncClient() as client:
        while wanted not in (await client.get(url, params={"filter": "membership_healthy"})).text:
            assert time.monotonic() < deadline_s, "a worker is not healthy"
            await asyncio.sleep(0.05)


async def until_nobody_listens(address: str) -> None:
    """Wait for the end of the process that served there; it may not be the one that was killed."""
    host, _, port = address.rpartition(":")
    deadline_s = time.monotonic() + SOON_S
    while time.monotonic() < deadline_s:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.01)
    pytest.fail(f"{address} is still served")


def workers_of(stage: Stage) -> list[Part]:
    """The processes of the front door."""
    return [part for name, part in stage.stack.parts.items() if name.startswith("authz")]


async def test_a_path_that_nobody_serves(stage: Stage, upstream: Upstream) -> None:
    """No route takes it: a 404 in our shape, with a key or without, and nothing is sent."""
    customer = await stage.customer(CREDIT)
    async with stage.client(customer) as client:
        for answer in (
            await client.get("/no/such/path"),
            await client.post(PING),
            await client.get("/_seen"),
        ):
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert (error["code"], error["action"]) == ("no_such_route", "Check method and path.")
            assert error["request_id"] == answer.headers["x-request-id"]
    assert await upstream.received(PING) == 0


async def test_a_route_name_that_is_not_configured(stage: Stage, books: Books) -> None:
    """An Envoy whose routes name what the file does not is refused, never let pass for nothing."""
    customer = await stage.customer(CREDIT)
    for name in ("secretly", "", "ping\x00", "x" * 10_000):
        answer = await check(stage, name, customer.headers)
        assert answer.denied_response.status.code == 403
        assert json.loads(answer.denied_response.body)["error"]["code"] == "unknown_route"
    counted = await stage.authz_counts("tollkeeper_authz_checks_total", code="unknown_route")
    assert sum(counted) >= 4
    await books.expect(customer, CREDIT)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/reported/v1/chat/completions"])
async def test_a_body_above_the_bound(
    stage: Stage, books: Books, upstream: Upstream, path: str
) -> None:
    """More than a mebibyte is a 413 in our shape, and nothing of it is sent or paid."""
    customer = await stage.customer(1_000 * CREDIT)
    prompt = [{"role": "user", "content": "secretly " * 150_000}]
    async with stage.client(customer) as client:
        answer = await client.post(path, json={"model": "gpt-4o-mini", "messages": prompt})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == "body_too_large"
    assert await upstream.received(path) == 0
    await books.expect(customer, 1_000 * CREDIT)


async def test_a_route_that_was_taken_out(cluster_stage: Stage) -> None:
    """A route that is gone from the file is refused by the workers, while Envoy still has it; put
    back, it serves as before."""
    customer = await cluster_stage.customer(CREDIT)
    path = cluster_stage.stack.settings.config_file
    before, yaml = path.read_text(), YAML()
    config = yaml.load(before)
    del config["routes"]["self"]
    async with cluster_stage.client(customer) as client:
        try:
            yaml.dump(config, path)
            refused = await until(client, "/self", 403)
        finally:
            path.write_text(before)
        await until(client, "/self", 200)
    assert refused.json()["error"]["code"] == "unknown_route"


async def test_without_authorization_nothing_passes(
    cluster_stage: Stage, cluster_books: Books, cluster_upstream: Upstream
) -> None:
    """Every worker killed: a 503 in the shape of each route, nothing is sent; started again, the
    same customer is served, and no credit is lost."""
    customer = await cluster_stage.customer(100 * CREDIT)
    async with cluster_stage.client(customer) as client:
        assert (await client.get(PING)).status_code == 200
        await cluster_books.expect(customer, 100 * CREDIT, PINGED)
        async with killed(cluster_stage, *workers_of(cluster_stage)):
            refused = await client.get(PING)
            rpc = await client.post(RPC, json=CALL)
        assert (await client.get(PING)).status_code == 200
    assert (refused.status_code, rpc.status_code) == (503, 503)
    assert refused.headers["retry-after"] == rpc.headers["retry-after"] == "1"
    assert refused.json() == {
        "error": {
            "code": "authorization_unavailable",
            "message": "Authorization cannot be decided right now.",
            "reason": "",
            "action": "Try again shortly.",
            "url": "https://billing.example.test/credits",
            "request_id": refused.headers["x-request-id"],
        }
    }
    error = rpc.json()["error"]
    assert (rpc.json()["id"], error["code"]) == (None, -32002)
    assert error["data"]["code"] == "authorization_unavailable"
    assert await cluster_upstream.received(RPC) == 0
    assert await cluster_upstream.received(PING) == 2
    await cluster_books.expect(customer, 100 * CREDIT, PINGED, PINGED)


async def test_one_worker_of_two_is_enough(
    cluster_stage: Stage, cluster_books: Books, cluster_upstream: Upstream
) -> None:
    """One worker killed in the middle of traffic: the other one answers. Lost is at most what Envoy
    sends into connections whose end it has not noticed yet; the client is told, and not charged."""
    customer = await cluster_stage.customer(1_000 * CREDIT)
    async with cluster_stage.client(customer) as client:
        assert (await client.get(PING)).status_code == 200
        async with killed(cluster_stage, workers_of(cluster_stage)[0]):
            codes = [(await client.get(PING)).status_code for _ in range(50)]
    assert set(codes[:10]) <= {200, 503}
    assert codes[10:] == [200] * 40
    passed = 1 + codes.count(200)
    assert await cluster_upstream.received(PING) == passed
    await cluster_books.expect(customer, 1_000 * CREDIT, *[PINGED] * passed)


async def test_rate_limits_without_their_redis(cluster_stage: Stage, cluster_books: Books) -> None:
    """While the Redis of the rate limits is down the service counts alone, against half of the
    limit; within two seconds of its return the whole limit is in force again."""
    customer = await cluster_stage.customer(1_000 * CREDIT)
    async with cluster_stage.act() as act:
        terms = Terms("unlimited", rps_override=1, burst_override=20)
        await set_subscription(act, customer.account_id, "llm", terms)
    redis = cluster_stage.stack.parts["redis"]
    page = str(cluster_stage.stack.settings.ratelimit_metrics_listen)
    metric = "tollkeeper_ratelimit_answers_without_store_total"
    before = await cluster_stage.count(page, metric, domain="tollkeeper")
    async with cluster_stage.client(customer) as client:
        await redis.stop()
        alone = await flood(client)
        await redis.start()
        await asyncio.sleep(2)
        together = await flood(client)
    assert 10 <= alone < 18
    assert 20 <= together < 30
    assert await cluster_stage.count(page, metric, domain="tollkeeper") > before
    passed = alone + together
    await cluster_books.expect(
        customer, 1_000 * CREDIT, *[PINGED] * passed, released=2 * FLOOD - passed
    )


async def flood(client: httpx.AsyncClient) -> int:
    """How many of so many requests, one after the other, are not refused for their rate."""
    answers = [await client.get(PING) for _ in range(FLOOD)]
    refused = [answer.json()["error"]["code"] for answer in answers if answer.status_code != 200]
    assert set(refused) == {"rate_limited"}
    return FLOOD - len(refused)
