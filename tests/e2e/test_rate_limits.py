"""How often and how much: limits of a plan, in the shadow, and while Redis is away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.own_envoy import Routes, own_envoy
from tests.e2e.stage import CREDIT, Stage, Upstream

PING = "/flat/ping"
PINGED = Paid("ping", CREDIT, 1)
CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 32,
    "messages": [{"role": "user", "content": "secretly count five words"}],
}


async def test_a_plan_bounds_rate_and_burst(stage: Stage, books: Books, upstream: Upstream) -> None:
    """One request a second with a burst of three: the fourth is a 429 with all its numbers, costs
    nothing, is not sent, and passes after the wait that it was told."""
    customer = await stage.customer(100 * CREDIT, plan="paced")
    async with stage.client(customer) as client:
        answers = [await client.get(PING) for _ in range(4)]
        refused = answers.pop()
        await asyncio.sleep(int(refused.headers["retry-after"]))
        after = await client.get(PING)
    assert [answer.status_code for answer in answers] == [200] * 3
    limits = {answer.headers["x-ratelimit-limit"] for answer in answers}
    assert limits == {"1, 1;w=1"}
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0"]
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"] == "1"
    assert refused.json() == {
        "error": {
            "code": "rate_limited",
            "message": "Too many requests.",
            "reason": "",
            "action": "Slow down.",
            "url": "https://billing.example.test/credits",
            "request_id": refused.headers["x-request-id"],
            "limit": {"requests_per_unit": 1, "unit": "SECOND"},
            "reset_s": "1",
        }
    }
    assert after.status_code == 200
    assert await upstream.received(PING) == 4
    await books.expect(customer, 100 * CREDIT, *[PINGED] * 4, released=1)


async def test_a_limit_inline_needs_no_call_of_its_own(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """The same plan where the limit is taken with the hold: the same answers and headers, no call
    of the rate-limit service, and a refused request costs nothing."""
    customer = await stage.customer(100 * CREDIT, plan="paced")
    sent_before = await upstream.received(PING)
    async with stage.client(customer) as client:
        answers = [await client.get("/inline") for _ in range(4)]
        refused = answers.pop()
        await asyncio.sleep(int(refused.headers["retry-after"]))
        after = await client.get("/inline")
    assert [answer.status_code for answer in (*answers, after)] == [200] * 4
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"1, 1;w=1"}
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0"]
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"] == "1"
    told = refused.json()["error"]
    assert (told["code"], told["limit_per_second"], told["burst"]) == ("rate_limited", 1, 3)
    assert await upstream.received(PING) == sent_before + 4
    await books.expect(customer, 100 * CREDIT, *[Paid("inline_ping", CREDIT, 1)] * 4)


async def test_without_a_limit_nothing_is_limited(stage: Stage, books: Books) -> None:
    """A plan without a rate passes two hundred requests at once, and no header speaks of limits."""
    customer = await stage.customer(1_000 * CREDIT)
    async with stage.client(customer) as client:
        answers = await asyncio.gather(*(client.get(PING) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert not [name for name in answers[0].headers if name.startswith("x-ratelimit")]
    await books.expect(customer, 1_000 * CREDIT, *[PINGED] * 200)


async def test_customers_do_not_share_a_limit(stage: Stage, books: Books) -> None:
    """One customer's flood takes nothing from another's rate, nor one profile's from another's."""
    loud = await stage.customer(100 * CREDIT, plan="paced")
    quiet = await stage.customer(100 * CREDIT, plan="paced")
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    async with stage.client() as client:
        flood = [client.get(PING, headers=loud.headers) for _ in range(20)]
        codes = [answer.status_code for answer in await asyncio.gather(*flood)]
        other = await client.post("/rpc/ethereum", json=call, headers=loud.headers)
        others = [await client.get(PING, headers=quiet.headers) for _ in range(3)]
    passed = codes.count(200)
    assert codes.count(429) == 20 - passed
    assert 3 <= passed <= 5
    assert other.status_code == 200
    assert [answer.status_code for answer in others] == [200] * 3
    events = [*[PINGED] * passed, Paid("ethereum", 10_000, 1)]
    await books.expect(loud, 100 * CREDIT, *events, released=20 - passed)
    await books.expect(quiet, 100 * CREDIT, *[PINGED] * 3)


async def test_requests_under_way_are_bounded(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """A plan of one request at a time refuses the second while the first runs, and is free again
    as soon as the first is settled."""
    customer = await stage.customer(100 * CREDIT, plan="single_file")
    async with stage.client(customer) as client:
        slow = asyncio.create_task(client.get(PING, headers={"x-example-delay-ms": "400"}))
        while not await upstream.received(PING):
            await asyncio.sleep(0.01)
        refused = await client.get(PING)
        assert (await slow).status_code == 200
        await books.expect(customer, 100 * CREDIT, PINGED)
        again = await client.get(PING)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["limit"]) == ("too_many_in_flight", 1)
    assert refused.headers["retry-after"] == "1"
    assert again.status_code == 200
    await books.expect(customer, 100 * CREDIT, PINGED, PINGED)


def ask_for_shadow(routes: Routes) -> None:
    """Let the route of pings ask for a descriptor of the operator's own."""
    shadowed = {"generic_key": {"descriptor_key": "shadowed", "descriptor_value": "ping"}}
    routes["ping"]["route"]["rate_limits"].append({"actions": [shadowed]})


async def test_a_shadow_counts_and_lets_pass(stage: Stage, books: Books, tmp_path: Path) -> None:
    """A rule in shadow mode says in its metric whom it would have refused, and refuses nobody."""
    customer = await stage.customer(100 * CREDIT)
    page = str(stage.stack.settings.ratelimit_metrics_listen)
    metric = "tollkeeper_ratelimit_rule_shadow_mode_hits_total"
    async with own_envoy(stage, tmp_path, ask_for_shadow) as url, httpx.AsyncClient() as client:
        answers = [await client.get(f"{url}{PING}", headers=customer.headers) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 5
        await books.expect(customer, 100 * CREDIT, *[PINGED] * 5)
    assert await stage.count(page, metric, rule="shadowed") == 4


@pytest.mark.parametrize(
    ("plan", "code", "numbers"),
    [
        ("two_credits_a_day", "spend_cap_reached", ("limit_nanos", 2 * CREDIT)),
        ("ten_units", "quota_exceeded", ("limit_units", 10)),
    ],
)
async def test_quotas_and_caps_end_exactly(
    stage: Stage, books: Books, plan: str, code: str, numbers: tuple[str, int]
) -> None:
    """A daily cap of two credits and a quota of ten units pass exactly so many pings."""
    customer = await stage.customer(100 * CREDIT, plan=plan)
    most = 2 if plan == "two_credits_a_day" else 10
    async with stage.client(customer) as client:
        answers = await asyncio.gather(*(client.get(PING) for _ in range(20)))
    refused = [answer for answer in answers if answer.status_code == 402]
    assert len(refused) == 20 - most
    for answer in refused:
        error = answer.json()["error"]
        name, limit = numbers
        assert (error["code"], error[name]) == (code, limit)
        assert int(answer.headers["retry-after"]) > 0
    await books.expect(customer, 100 * CREDIT, *[PINGED] * most)


async def test_one_request_may_be_too_expensive(stage: Stage, books: Books) -> None:
    """A plan bounds the price of a single request, whatever the balance."""
    customer = await stage.customer(100 * CREDIT, plan="half_credit_requests")
    async with stage.client(customer) as client:
        refused = await client.get(PING)
        chat = await client.post("/v1/chat/completions", json=CHAT)
    assert refused.status_code == 402
    error = refused.json()["error"]
    assert error["code"] == "request_too_expensive"
    assert (error["needed_nanos"], error["limit_nanos"]) == (CREDIT, CREDIT // 2)
    assert "retry-after" not in refused.headers
    assert chat.status_code == 200
    cost = 8 * 150 + 16 * 600
    await books.expect(customer, 100 * CREDIT, Paid("chat", cost * 2, 24, cost))
