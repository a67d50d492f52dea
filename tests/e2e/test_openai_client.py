"""The official OpenAI client through Envoy: answers, streams, and refusals as it shows them.

The example upstream counts the words of a prompt plus 4, and answers 16 tokens. gpt-4o-mini takes
150 nano-USD for a token of input, 75 for a cached one and 600 for one of output; the markup is 2.
gpt-4o has prices of its own: 4 000, 2 000 and 15 000, of which the provider takes 2 500, 1 250 and
10 000.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream
from tollkeeper.stack.customers import Customer

CHAT = "/v1/chat/completions"
PROMPT: Any = [{"role": "user", "content": "secretly count five words"}]
PROMPT_TOKENS = 4 + 4
COST = PROMPT_TOKENS * 150 + 16 * 600
"""What the provider takes for the prompt and 16 tokens of gpt-4o-mini: 10 800 nano-USD."""

BAD_MAX_TOKENS = {"code": "bad_request_body", "field": "max_tokens", "limit": 16_384}
FIRST = Paid("chat", COST * 2, PROMPT_TOKENS + 16, COST)


@asynccontextmanager
async def openai_client(stage: Stage, customer: Customer) -> AsyncIterator[AsyncOpenAI]:
    """The client as its documentation says, but for retries, which would hide refusals."""
    base_url = f"{stage.stack.gateway_url}/v1"
    async with AsyncOpenAI(api_key=customer.key, base_url=base_url, max_retries=0) as client:
        yield client


async def ask_until_refused(client: AsyncOpenAI) -> openai.RateLimitError:
    """Ask again and again, at most ten times."""
    try:
        for _ in range(10):
            await client.chat.completions.create(
                model="gpt-4o-mini", messages=PROMPT, max_tokens=16
            )
    except openai.RateLimitError as refused:
        return refused
    pytest.fail("ten requests passed a limit of three")


async def test_an_answer_is_paid_by_its_tokens(stage: Stage, books: Books) -> None:
    """One completion costs its tokens at the book's prices, and its headers say what is left."""
    customer = await stage.customer(10 * CREDIT)
    async with openai_client(stage, customer) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", messages=PROMPT, max_tokens=50
        )
    answer = raw.parse()
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, 16)
    # Held is the most that the request may cost: a token for each byte, and all of max_tokens.
    body_bytes = int(raw.http_request.headers["content-length"])
    held = (body_bytes * 150 + 50 * 600) * 2
    assert raw.headers["x-credits-reserved"] == f"0.{held:06d}"
    assert raw.headers["x-credits-remaining"] == f"9.{CREDIT - held:06d}"
    reading = await books.expect(customer, 10 * CREDIT, FIRST)
    assert reading.events[0]["held_nanos"] == held
    assert reading.events[0]["reservation_id"] == raw.headers["x-request-id"]


async def test_a_stream_is_paid_by_its_last_event(stage: Stage, books: Books) -> None:
    """A stream with usage reaches the client event by event and costs what an answer costs."""
    customer = await stage.customer(100 * CREDIT)
    async with openai_client(stage, customer) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o-mini",
            messages=PROMPT,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    words = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert words.split() == [f"word{number}" for number in range(16)]
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.total_tokens == PROMPT_TOKENS + 16
    await books.expect(customer, 100 * CREDIT, FIRST)


async def test_own_prices_cached_tokens_and_two_choices(stage: Stage, books: Books) -> None:
    """A model with prices of its own, tokens from the cache, and n=2, each to the nano-USD."""
    customer = await stage.customer(1_000 * CREDIT)
    async with openai_client(stage, customer) as client:
        cached = {"x-example-cached-tokens": "3"}
        await client.chat.completions.create(model="gpt-4o", messages=PROMPT, extra_headers=cached)
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=PROMPT, n=2)
    assert len(answer.choices) == 2
    price = (PROMPT_TOKENS - 3) * 4_000 + 3 * 2_000 + 16 * 15_000
    cost = (PROMPT_TOKENS - 3) * 2_500 + 3 * 1_250 + 16 * 10_000
    twice = PROMPT_TOKENS * 150 + 2 * 16 * 600
    await books.expect(
        customer,
        1_000 * CREDIT,
        Paid("chat", price, PROMPT_TOKENS + 16, cost),
        Paid("chat", twice * 2, PROMPT_TOKENS + 32, twice),
    )


async def test_without_max_tokens_the_models_own_is_held(stage: Stage, books: Books) -> None:
    """max_tokens left out holds the model's 16 384 tokens, and costs only what was answered."""
    customer = await stage.customer(100 * CREDIT)
    async with openai_client(stage, customer) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", messages=PROMPT
        )
    body_bytes = int(raw.http_request.headers["content-length"])
    reading = await books.expect(customer, 100 * CREDIT, FIRST)
    assert reading.events[0]["held_nanos"] == (body_bytes * 150 + 16_384 * 600) * 2


async def test_an_empty_balance_is_a_402(stage: Stage, books: Books, upstream: Upstream) -> None:
    """Credits that do not cover the request refuse it with the numbers, and nothing is sent."""
    customer = await stage.customer(CREDIT)
    async with openai_client(stage, customer) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="gpt-4o-mini", messages=PROMPT)
    refused = caught.value
    assert refused.status_code == 402
    assert isinstance(refused.body, dict)
    body_bytes = int(refused.request.headers["content-length"])
    held = (body_bytes * 150 + 16_384 * 600) * 2
    assert refused.body == {
        "code": "insufficient_credits",
        "message": "The balance does not cover this request.",
        "reason": f"the request needs up to {held // CREDIT}.{held % CREDIT:06d} credits;"
        " 1.000000 are available",
        "action": "Top up the account.",
        "url": "https://billing.example.test/credits",
        "request_id": refused.request_id,
        "available_nanos": CREDIT,
        "needed_nanos": held,
    }
    assert "retry-after" not in refused.response.headers
    assert await upstream.received(CHAT) == 0
    await books.expect(customer, CREDIT)


async def test_too_many_requests_are_a_429(stage: Stage, books: Books) -> None:
    """Beyond rate and burst the client raises RateLimitError with the wait; nothing is charged."""
    customer = await stage.customer(100 * CREDIT, plan="paced")
    async with openai_client(stage, customer) as client:
        refused = await ask_until_refused(client)
    assert isinstance(refused.body, dict)
    assert refused.body["code"] == "rate_limited"
    assert refused.response.headers["retry-after"] == "1"
    reading = await books.settled(customer, admitted=4)
    passed = reading.states["settled"]
    assert 3 <= passed <= 5
    await books.expect(customer, 100 * CREDIT, *[FIRST] * passed, released=1)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"model": "gpt-none"}, {"code": "unknown_model", "model": "gpt-none"}),
        ({"max_tokens": -5}, BAD_MAX_TOKENS),
        ({"max_tokens": 16_385}, BAD_MAX_TOKENS),
        ({"max_tokens": 10**30}, BAD_MAX_TOKENS),
        ({"n": 129}, {"code": "bad_request_body", "field": "n", "limit": 128}),
    ],
)
async def test_what_cannot_be_priced_is_a_400(
    stage: Stage, books: Books, upstream: Upstream, asked: dict[str, Any], told: dict[str, Any]
) -> None:
    """A model without a price and absurd counts are refused by name, and change no money."""
    customer = await stage.customer(100 * CREDIT)
    async with openai_client(stage, customer) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(
                **{"model": "gpt-4o-mini", "messages": PROMPT} | asked
            )
    assert isinstance(caught.value.body, dict)
    assert told.items() <= caught.value.body.items()
    assert await upstream.received(CHAT) == 0
    await books.expect(customer, 100 * CREDIT)
