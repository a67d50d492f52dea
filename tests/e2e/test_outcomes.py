"""How requests can end, and what each end costs: the table of docs/settlement.md, played out.

A stream that is cut short has no usage: its input is reckoned as the body's bytes / 4, its output
as the bytes of the answer / 200, each rounded up. gpt-4o-mini takes 150 and 600 nano-USD a token.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.own_envoy import Routes, own_envoy
from tests.e2e.stage import CREDIT, Stage, Upstream
from tollkeeper.stack.customers import Customer

PING = "/flat/ping"
CHAT = "/v1/chat/completions"
PINGED = Paid("ping", CREDIT, 1)
STREAM: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "secretly count five words"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
STREAM_BYTES = len(json.dumps(STREAM, separators=(",", ":")))


async def read_stream(
    client: httpx.AsyncClient, path: str, how: dict[str, str], at_most_bytes: int = 1 << 30
) -> int:
    """Read a stream until it ends, breaks off, or enough was read; returns how many bytes came."""
    read_bytes = 0
    try:
        async with client.stream("POST", path, json=STREAM, headers=how) as answer:
            async for part in answer.aiter_raw():
                read_bytes += len(part)
                if read_bytes >= at_most_bytes:
                    break
    except httpx.RemoteProtocolError:
        pass  # that it broke off is what the caller wanted to see
    return read_bytes


async def expect_cut_short(
    books: Books, customer: Customer, paid_in_nanos: int, route: str
) -> dict[str, Any]:
    """Assert that one stream was billed by the bytes of its answer; returns the entry's facts."""
    reading = await books.settled(customer, admitted=1)
    facts: dict[str, Any] = json.loads(reading.events[0]["facts"])
    tokens_in = -(-STREAM_BYTES // 4)
    tokens_out = -(-facts["response_bytes"] // 200)
    cost = tokens_in * 150 + tokens_out * 600
    event = Paid(
        route,
        cost * 2,
        tokens_in + tokens_out,
        cost,
        "cut_short",
        "needs_review",
        "estimated_from_bytes",
    )
    await books.expect(customer, paid_in_nanos, event)
    return facts


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_upstreams_error_costs_nothing(
    stage: Stage, books: Books, upstream: Upstream, status: int
) -> None:
    """The upstream's own error reaches the client as it is, and the hold is released."""
    customer = await stage.customer(CREDIT)
    await upstream.behave(PING, status=status)
    async with stage.client(customer) as client:
        answer = await client.get(PING)
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, "as told")
    await books.expect(customer, CREDIT, released=1)


async def test_an_upstream_that_is_not_there(stage: Stage, books: Books) -> None:
    """A refused connection is a 503 that says so in our shape; the hold is released."""
    customer = await stage.customer(CREDIT)
    async with stage.client(customer) as client:
        answer = await client.get("/nowhere")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "upstream_unavailable"
    await books.expect(customer, CREDIT, released=1)


async def test_an_upstream_that_hangs_up_before_its_answer(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Nothing came, so nothing is charged."""
    customer = await stage.customer(CREDIT)
    await upstream.behave(PING, hang_up_after=0)
    async with stage.client(customer) as client:
        answer = await client.get(PING)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "upstream_unavailable"
    await books.expect(customer, CREDIT, released=1)


async def test_an_upstream_that_is_too_slow(stage: Stage, books: Books, upstream: Upstream) -> None:
    """Past the route's timeout it is a 504 in our shape, and nothing is charged."""
    customer = await stage.customer(CREDIT)
    await upstream.behave(PING, delay_ms=1_500)
    async with stage.client(customer) as client:
        answer = await client.get("/hasty/ping")
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_timeout"
    await books.expect(customer, CREDIT, released=1)


async def test_an_upstream_that_hangs_up_in_mid_stream(stage: Stage, books: Books) -> None:
    """What came before it broke off is billed by its bytes, and left to a person."""
    customer = await stage.customer(10 * CREDIT)
    how = {"x-example-tokens": "100", "x-example-hang-up-after": "30"}
    async with stage.client(customer) as client:
        read_bytes = await read_stream(client, CHAT, how)
    facts = await expect_cut_short(books, customer, 10 * CREDIT, "chat")
    assert facts["row"] == "broken_off"
    assert facts["response_bytes"] >= read_bytes > 0


async def test_a_stream_that_runs_out_of_time(stage: Stage, books: Books) -> None:
    """A stream past the route's timeout is cut by Envoy, and billed by what came until then."""
    customer = await stage.customer(10 * CREDIT)
    how = {"x-example-tokens": "100", "x-example-chunk-delay-ms": "50"}
    async with stage.client(customer) as client:
        read_bytes = await read_stream(client, "/hasty/chat", how)
    facts = await expect_cut_short(books, customer, 10 * CREDIT, "hasty_chat")
    assert facts["row"] == "broken_off"
    assert facts["response_bytes"] >= read_bytes > 0


async def test_a_client_that_hangs_up_in_mid_stream(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """A client that leaves pays for what was produced for it, and the upstream stops."""
    customer = await stage.customer(10 * CREDIT)
    how = {"x-example-tokens": "200", "x-example-chunk-delay-ms": "20"}
    async with stage.client(customer) as client:
        read_bytes = await read_stream(client, CHAT, how, at_most_bytes=2_000)
    facts = await expect_cut_short(books, customer, 10 * CREDIT, "chat")
    assert facts["row"] == "client_gone"
    assert facts["response_bytes"] >= read_bytes >= 2_000
    assert (await upstream.seen(CHAT))["cut"] == 1


async def test_a_client_that_does_not_wait(stage: Stage, books: Books, upstream: Upstream) -> None:
    """When a client leaves before the answer begins nobody knows the cost: a person looks."""
    customer = await stage.customer(CREDIT)
    async with stage.client(customer) as client:
        asked = asyncio.create_task(client.get(PING, headers={"x-example-delay-ms": "2000"}))
        while not await upstream.received(PING):
            await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    event = Paid("ping", 0, 0, None, "no_usage", "needs_review", "no_usage: left_waiting")
    await books.expect(customer, CREDIT, event)


async def test_half_an_answer_of_a_flat_price_is_paid(stage: Stage, books: Books) -> None:
    """A flat price knows no halves: an answer that broke off costs what the whole one costs."""
    customer = await stage.customer(10 * CREDIT)
    async with stage.client(customer) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(PING, headers={"x-example-hang-up-after": "1"})
    await books.expect(customer, 10 * CREDIT, PINGED._replace(outcome="cut_short"))


async def test_a_long_stream_outlives_its_reservation(stage: Stage, books: Books) -> None:
    """A stream of four seconds on a route with a lifetime of two: entries on the way extend the
    reservation, the hold stands all the while, and it is billed once."""
    customer = await stage.customer(10 * CREDIT)
    metric = "tollkeeper_accesslog_extended_total"
    page = str(stage.stack.settings.accesslog_metrics_listen)
    before = await stage.count(page, metric)
    how = {"x-example-tokens": "16", "x-example-chunk-delay-ms": "220"}
    async with stage.client(customer) as client:
        reading = asyncio.create_task(read_stream(client, "/long/chat", how))
        await asyncio.sleep(3)
        under_way = await books.read(customer.account_id)
        await reading
    assert under_way.states == {"pending": 1}
    assert len(under_way.redis) == 1
    assert await stage.count(page, metric) > before
    cost = 8 * 150 + 16 * 600
    await books.expect(customer, 10 * CREDIT, Paid("long_chat", cost * 2, 24, cost))


def retry_pings(routes: Routes) -> None:
    """Let an operator's Envoy try a ping up to three times."""
    routes["ping"]["route"]["retry_policy"] = {"retry_on": "5xx", "num_retries": 2}


async def test_what_was_retried_is_billed_once(
    stage: Stage, books: Books, upstream: Upstream, tmp_path: Path
) -> None:
    """An Envoy that tries again after a 500 pays once for the answer that came at last."""
    customer = await stage.customer(10 * CREDIT)
    await upstream.behave(PING, times=2, status=500)
    async with own_envoy(stage, tmp_path, retry_pings) as url, httpx.AsyncClient() as client:
        answer = await client.get(f"{url}{PING}", headers=customer.headers)
        assert answer.status_code == 200
        reading = await books.expect(customer, 10 * CREDIT, PINGED)
    facts = json.loads(reading.events[0]["facts"])
    assert (facts["row"], facts["attempts"]) == ("retried", 3)
    assert await upstream.received(PING) == 3


async def test_a_client_cannot_ask_for_retries(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Envoy's own headers from a client change nothing: one request is sent once."""
    customer = await stage.customer(CREDIT)
    await upstream.behave(PING, status=500)
    asked = {
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "3",
        "x-envoy-upstream-rq-timeout-ms": "1",
    }
    async with stage.client(customer) as client:
        answer = await client.get(PING, headers=asked)
    assert answer.status_code == 500
    assert await upstream.received(PING) == 1
    await books.expect(customer, CREDIT, released=1)
