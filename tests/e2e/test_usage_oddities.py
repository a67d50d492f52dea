"""Answers whose usage is missing, absurd, or above what was held.

Nothing is guessed: what cannot be read is recorded for a person and not charged, unless the route
says otherwise. What is above the hold is billed in full.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage
from tollkeeper.stack.customers import Customer

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "secretly count five words"}],
}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


async def ask(
    stage: Stage, customer: Customer, path: str, body: dict[str, Any], usage: str
) -> httpx.Response:
    """Ask with an instruction about the usage, and read the answer to its end."""
    async with stage.client(customer) as client:
        return await client.post(path, json=body, headers={"x-example-usage": usage})


@pytest.mark.parametrize("stream", [{}, STREAM], ids=["answer", "stream"])
@pytest.mark.parametrize(
    ("usage", "why"),
    [
        ("none", "input tokens missing"),
        ("negative", "input tokens is negative"),
        ("text", "input tokens is not a whole number"),
        ('{"prompt_tokens": 8, "completion_tokens": 1.5}', "output tokens is not a whole number"),
        (
            '{"prompt_tokens": 8, "completion_tokens": 1e300}',
            "output tokens is above 9007199254740992",
        ),
        ('{"prompt_tokens": 8}', "output tokens missing"),
    ],
)
async def test_unusable_usage_is_recorded_and_not_charged(
    stage: Stage, books: Books, usage: str, why: str, stream: dict[str, Any]
) -> None:
    """An answer with such a usage costs nothing and waits for a person, who is told why."""
    customer = await stage.customer(CREDIT)
    assert (await ask(stage, customer, CHAT, BODY | stream, usage)).status_code == 200
    event = Paid("chat", 0, 0, None, "no_usage", "needs_review", f"no_usage: {why}")
    await books.expect(customer, CREDIT, event)


async def test_a_route_may_charge_the_quote(stage: Stage, books: Books) -> None:
    """With `missing_usage: charge_quote` an answer without usage costs what was held for it."""
    customer = await stage.customer(CREDIT)
    assert (await ask(stage, customer, "/quoted/chat", BODY, "none")).status_code == 200
    body_bytes = len(json.dumps(BODY, separators=(",", ":")))
    quote = (body_bytes * 150 + 16 * 600) * 2
    review = "no_usage: input tokens missing"
    event = Paid("quoted_chat", quote, 0, None, "no_usage", "billed", review)
    await books.expect(customer, CREDIT, event)


async def test_usage_above_the_hold_is_billed_in_full(stage: Stage, books: Books) -> None:
    """What the provider takes is charged, marked, and may push the balance below zero; then the
    next request is refused."""
    customer = await stage.customer(CREDIT)
    usage = '{"prompt_tokens": 4000, "completion_tokens": 1000}'
    assert (await ask(stage, customer, CHAT, BODY, usage)).status_code == 200
    cost = 4_000 * 150 + 1_000 * 600
    assert cost * 2 > CREDIT
    event = Paid("chat", cost * 2, 5_000, cost, review="above_hold")
    reading = await books.expect(customer, CREDIT, event)
    assert reading.posted_nanos == -1_400_000
    assert (await ask(stage, customer, CHAT, BODY, "")).status_code == 402


async def test_more_cached_than_input_is_not_priced(stage: Stage, books: Books) -> None:
    """A provider that counts cached tokens beside the input is not charged by guesswork."""
    customer = await stage.customer(CREDIT)
    usage = (
        '{"prompt_tokens": 8, "completion_tokens": 16,'
        ' "prompt_tokens_details": {"cached_tokens": 9}}'
    )
    assert (await ask(stage, customer, CHAT, BODY, usage)).status_code == 200
    review = "no_usage: more cached tokens than input tokens"
    event = Paid("chat", 0, 0, None, "no_usage", "needs_review", review)
    await books.expect(customer, CREDIT, event)


async def test_absurd_usage_is_not_charged(stage: Stage, books: Books) -> None:
    """Usage that would cost more than 1 000 USD is a fault of the upstream before it is a price."""
    customer = await stage.customer(CREDIT)
    usage = '{"prompt_tokens": 8, "completion_tokens": 900000000000}'
    assert (await ask(stage, customer, CHAT, BODY, usage)).status_code == 200
    reading = await books.settled(customer, admitted=1)
    (event,) = reading.events
    assert (event["status"], event["price_nanos"]) == ("needs_review", 0)
    assert event["review"].startswith("out_of_range: ")
    assert reading.posted_nanos == CREDIT
