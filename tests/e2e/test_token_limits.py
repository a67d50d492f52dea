"""Tokens of an account: taken as quoted before a request runs, put right when its answer ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream

COUNTED = "/counted/chat"
"""A route with 1 000 tokens an hour: so slow that what comes back meanwhile is at most one."""

LIMIT = 1_000
CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 4_000,
    "messages": [{"role": "user", "content": "secretly count five words"}],
}
STREAM = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
PROMPT_TOKENS = 8
TYPICAL_OUTPUT_TOKENS = 500
SOON_S = 5.0


def quoted_tokens(answer: httpx.Response) -> int:
    """A typical answer, and a token for each four bytes of the body that was sent."""
    size_bytes = int(answer.request.headers["content-length"])
    return TYPICAL_OUTPUT_TOKENS + -(-size_bytes // 4)


def left_tokens(answer: httpx.Response) -> int:
    return int(answer.headers["x-ratelimit-remaining"])


def paid(output_tokens: int) -> Paid:
    """What the ledger says of one answer, at twice what the provider takes."""
    cost = PROMPT_TOKENS * 150 + output_tokens * 600
    return Paid("counted_chat", 2 * cost, PROMPT_TOKENS + output_tokens, cost)


async def corrections(stage: Stage) -> int:
    page = str(stage.stack.settings.ratelimit_metrics_listen)
    return await stage.count(page, "tollkeeper_ratelimit_events_total", event="corrections")


async def ask(stage: Stage, client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    """One answer, and the end of its correction."""
    before = await corrections(stage)
    answer = await client.post(COUNTED, json=body)
    assert answer.status_code == 200
    deadline_s = time.monotonic() + SOON_S
    while await corrections(stage) == before:
        assert time.monotonic() < deadline_s, "the true number never came"
        await asyncio.sleep(0.02)
    return answer


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
async def test_what_was_not_used_is_given_back(
    stage: Stage, books: Books, upstream: Upstream, body: dict[str, Any]
) -> None:
    """Three answers of 40 tokens, quoted at more than 500 each, leave 880 of 1 000."""
    customer = await stage.customer(100 * CREDIT)
    await upstream.behave("/v1/chat/completions", times=3, tokens=32)
    async with stage.client(customer) as client:
        answers = [await ask(stage, client, body) for _ in range(3)]
    for number, answer in enumerate(answers):
        left = LIMIT - 40 * number - quoted_tokens(answer)
        assert left <= left_tokens(answer) <= left + 1
    await books.expect(customer, 100 * CREDIT, *[paid(32)] * 3)


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["json", "stream"])
async def test_what_was_used_beyond_the_quote_is_charged(
    stage: Stage, books: Books, upstream: Upstream, body: dict[str, Any]
) -> None:
    """An answer of 808 tokens leaves 192, which no other quote fits into: 429, and not sent."""
    customer = await stage.customer(100 * CREDIT)
    await upstream.behave("/v1/chat/completions", tokens=800)
    async with stage.client(customer) as client:
        await ask(stage, client, body)
        refused = await client.post(COUNTED, json=body)
        small = await client.post(COUNTED, json=body | {"max_tokens": 10})
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limited"
    # 1 000 tokens an hour: what is missing of the quote comes back in so many seconds.
    missing = quoted_tokens(refused) - (LIMIT - 808)
    assert int(refused.headers["retry-after"]) == pytest.approx(missing * 3.6, abs=5)
    assert small.status_code == 200
    assert await upstream.received("/v1/chat/completions") == 2
    await books.expect(customer, 100 * CREDIT, paid(800), paid(10), released=1)


async def test_requests_at_once_do_not_pass_the_limit_together(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Of ten at once one fits, because its quote is taken before anybody knows what it uses."""
    customer = await stage.customer(100 * CREDIT)
    await upstream.behave("/v1/chat/completions", times=10, tokens=32, delay_ms=2_000)
    async with stage.client(customer) as client:
        answers = await asyncio.gather(*(client.post(COUNTED, json=CHAT) for _ in range(10)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [429] * 9
    await books.expect(customer, 100 * CREDIT, paid(32), released=9)


async def test_a_failed_answer_costs_no_tokens(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Five answers that fail leave the whole limit, though each was quoted at half of it."""
    customer = await stage.customer(100 * CREDIT)
    failing = {"x-example-status": "500"}
    async with stage.client(customer) as client:
        for _ in range(5):
            before = await corrections(stage)
            assert (await client.post(COUNTED, json=CHAT, headers=failing)).status_code == 500
            while await corrections(stage) == before:
                await asyncio.sleep(0.02)
        await upstream.behave("/v1/chat/completions", tokens=32)
        answer = await ask(stage, client, CHAT)
    assert left_tokens(answer) == LIMIT - quoted_tokens(answer)
    await books.expect(customer, 100 * CREDIT, paid(32), released=5)


async def test_the_examples_route_has_a_limit_out_of_the_way(stage: Stage) -> None:
    """The example's own route counts tokens, far below its limit."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.client(customer) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT | {"max_tokens": 10})
    assert answer.status_code == 200
    assert int(answer.headers["x-ratelimit-limit"].split(",")[0]) == 100_000_000


async def test_a_stream_must_ask_for_its_usage_where_the_route_says_so(stage: Stage) -> None:
    """Without ``include_usage`` a stream of such a route is refused by name, and with it passes."""
    customer = await stage.customer(100 * CREDIT)
    silent = CHAT | {"stream": True}
    async with stage.client(customer) as client:
        refused = await client.post("/strict/chat", json=silent)
        passed = await client.post("/strict/chat", json=STREAM | {"max_tokens": 10})
        whole = await client.post("/strict/chat", json=CHAT | {"max_tokens": 10})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["field"]) == (
        "bad_request_body",
        "stream_options.include_usage",
    )
    assert (passed.status_code, whole.status_code) == (200, 200)
