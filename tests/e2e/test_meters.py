"""Tool runs, costs that the upstream reports, and flat prices: exact, and unusable ones.

A run costs 2 000 000 nano-USD, 500 000 for a CPU second and 250 000 for a GB held for a second. A
reported cost is doubled. A ping costs one credit.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream

TOOL = "/tools/run"
REPORTED = "/reported/v1/chat/completions"
CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "secretly count five words"}],
}


async def test_a_run_costs_its_cpu_memory_and_time(stage: Stage, books: Books) -> None:
    """CPU and memory as the backend reports them, and the wall time that Envoy measured."""
    customer = await stage.customer(1_000 * CREDIT)
    began_s = time.monotonic()
    async with stage.client(customer) as client:
        answer = await client.post(
            TOOL,
            json={"cpu_ms": 1_500, "memory_mib": 512},
            headers={"x-example-delay-ms": "300"},
        )
    most_ms = int((time.monotonic() - began_s) * 1_000) + 1
    assert answer.status_code == 200
    # Held is the tariff's most, 60 s of CPU and 120 s, with the memory that was asked for.
    held = 2_000_000 + 60 * 500_000 + 120 * 250_000 // 2
    assert answer.headers["x-credits-reserved"] == f"{held // CREDIT}.000000"
    (event,) = (await books.settled(customer, admitted=1)).events
    wall_ms = json.loads(event["facts"])["duration_ms"]
    assert 300 <= wall_ms <= most_ms
    # 2 000 000 + 1.5 s x 500 000 + 0.5 GB x wall x 250 000, rounded up.
    price = 2_000_000 + 750_000 + wall_ms * 125
    await books.expect(customer, 1_000 * CREDIT, Paid("tool", price, 2))


async def test_a_run_that_asks_for_less_is_held_for_less(stage: Stage, books: Books) -> None:
    """Bounds in the request lower the hold, so that a small balance is enough."""
    customer = await stage.customer(3 * CREDIT)
    bounds = {"cpu_s": 1, "memory_mib": 1_024, "duration_s": 2}
    async with stage.client(customer) as client:
        refused = await client.post(TOOL, json={"cpu_ms": 1})
        passed = await client.post(TOOL, json={"cpu_ms": 1, **bounds})
    assert refused.status_code == 402
    assert refused.json()["error"]["needed_nanos"] == 92 * CREDIT
    assert passed.headers["x-credits-reserved"] == "3.000000"
    (event,) = (await books.settled(customer, admitted=1)).events
    wall_ms = json.loads(event["facts"])["duration_ms"]
    price = 2_000_000 + 500 + wall_ms * 250
    await books.expect(customer, 3 * CREDIT, Paid("tool", price, -(-wall_ms // 1_000) or 1))


async def test_a_run_that_asks_for_too_much_is_refused(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """More than the tariff sells, or no number, is a 400 that names the bound."""
    customer = await stage.customer(1_000 * CREDIT)
    async with stage.client(customer) as client:
        for bound in ({"cpu_s": 61}, {"memory_mib": -1}, {"duration_s": "secretly"}):
            answer = await client.post(TOOL, json=bound)
            assert answer.status_code == 400
            error = answer.json()["error"]
            assert (error["code"], error["field"]) == ("bad_request_body", *bound)
    assert await upstream.received(TOOL) == 0
    await books.expect(customer, 1_000 * CREDIT)


async def test_a_run_without_a_report_is_not_charged(stage: Stage, books: Books) -> None:
    """Nobody guesses CPU time from wall time: the run is left to a person."""
    customer = await stage.customer(1_000 * CREDIT)
    async with stage.client(customer) as client:
        answer = await client.post(TOOL, json={}, headers={"x-example-tool-report": "none"})
    assert answer.status_code == 200
    review = "no_usage: cpu time missing"
    event = Paid("tool", 0, 0, None, "no_usage", "needs_review", review)
    await books.expect(customer, 1_000 * CREDIT, event)


async def test_a_reported_cost_is_doubled(stage: Stage, books: Books) -> None:
    """The header's decimal is read digit by digit and doubled; its tokens are the units."""
    customer = await stage.customer(1_000 * CREDIT)
    async with stage.client(customer) as client:
        plain = await client.post(REPORTED, json=CHAT)
        tiny = await client.post(REPORTED, json=CHAT, headers={"x-example-cost": "1.23456789e-05"})
    cost = 8 * 150 + 16 * 600
    assert plain.headers["x-litellm-response-cost"] == f"0.{cost:09d}"
    assert tiny.status_code == 200
    # 12 345.6789 nano-USD: the cost is rounded up once, and the price from the exact cost.
    await books.expect(
        customer,
        1_000 * CREDIT,
        Paid("reported", cost * 2, 24, cost),
        Paid("reported", 24_692, 24, 12_346),
    )


@pytest.mark.parametrize(
    ("cost", "why"),
    [
        ("none", "reported cost missing"),
        ("-0.01", "reported cost is negative"),
        ("NaN", "reported cost is not a decimal number"),
        ("0.01, 0.02", "reported cost is not a decimal number"),
        ("1000.01", "reported cost is above 1000.000000000 USD"),
    ],
)
async def test_an_unusable_report_is_not_charged(
    stage: Stage, books: Books, cost: str, why: str
) -> None:
    """A cost that is missing, negative, no number or absurd is left to a person."""
    customer = await stage.customer(1_000 * CREDIT)
    async with stage.client(customer) as client:
        answer = await client.post(REPORTED, json=CHAT, headers={"x-example-cost": cost})
    assert answer.status_code == 200
    review = f"no_usage: {why}"
    event = Paid("reported", 0, 0, None, "no_usage", "needs_review", review)
    await books.expect(customer, 1_000 * CREDIT, event)


async def test_a_ping_costs_one_credit_until_none_is_left(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """Three credits are three pings; the fourth is refused and never sent."""
    customer = await stage.customer(3 * CREDIT)
    async with stage.client(customer) as client:
        answers = [await client.get("/flat/ping") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 402]
    left = [answer.headers["x-credits-remaining"] for answer in answers[:3]]
    assert left == ["2.000000", "1.000000", "0.000000"]
    assert await upstream.received("/flat/ping") == 3
    await books.expect(customer, 3 * CREDIT, *[Paid("ping", CREDIT, 1)] * 3)
