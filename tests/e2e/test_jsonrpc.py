"""JSON-RPC through Envoy: every call is priced, every refusal has JSON-RPC's own shape.

A compute unit costs 10 000 nano-USD. eth_call counts 1.5, eth_getLogs 2, eth_blockNumber 1; a
body in and out that together exceed 1 KiB a call cost in proportion.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from billing.keys import generate_key
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage, Upstream

RPC = "/rpc/ethereum"
CU = 10_000
HEADERS = {"content-type": "application/json"}


def call(number: Any, method: str, **more: Any) -> dict[str, Any]:
    """One call, with a parameter that no log may show."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": ["secretly"], **more}


def error_of(answer: httpx.Response, call_id: Any = None) -> dict[str, Any]:
    """The error of a single JSON-RPC answer, which must be one by the letter."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", call_id)
    assert set(body) == {"jsonrpc", "id", "error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "data"}
    return error


async def test_one_call_costs_its_multiplier(stage: Stage, books: Books) -> None:
    """A small eth_call costs 1.5 units, and one of 4 KiB in proportion to its bytes."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.client(customer) as client:
        small = await client.post(RPC, json=call(1, "eth_call"))
        large = await client.post(
            RPC, json=call(2, "eth_call"), headers={"x-example-bytes": "4000"}
        )
    assert small.json()["result"] == "0x" + "0" * 63 + "1"
    size_bytes = len(large.request.content) + len(large.content)
    assert size_bytes > 4_000
    # 1.5 x bytes / 1024 x 10 000, rounded up once; units are rounded up as well.
    price = -(-15 * size_bytes * CU // 10_240)
    await books.expect(
        customer,
        100 * CREDIT,
        Paid("ethereum", 15_000, 2),
        Paid("ethereum", price, -(-15 * size_bytes // 10_240)),
    )


async def test_every_call_of_a_batch_is_priced(stage: Stage, books: Books) -> None:
    """A batch costs the sum of its calls, notifications among them; its answer has their ids."""
    customer = await stage.customer(100 * CREDIT)
    notification = {"jsonrpc": "2.0", "method": "eth_getLogs", "params": ["secretly"]}
    batch = [
        call("a", "eth_call"),
        call("b", "eth_blockNumber"),
        notification,
        *[call(number, "trace_block") for number in range(7)],
    ]
    async with stage.client(customer) as client:
        answer = await client.post(RPC, json=batch)
    assert [reply["id"] for reply in answer.json()] == ["a", "b", *range(7)]
    # 1.5 + 1 + 2 + 7 x 5 units, in less than 1 KiB a call.
    await books.expect(customer, 100 * CREDIT, Paid("ethereum", 395 * CU // 10, 40))


async def test_a_notification_is_paid(stage: Stage, books: Books) -> None:
    """A call without an id runs like any other: no answer, and its price."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.client(customer) as client:
        answer = await client.post(RPC, json={"jsonrpc": "2.0", "method": "eth_chainId"})
    assert (answer.status_code, answer.content) == (204, b"")
    await books.expect(customer, 100 * CREDIT, Paid("ethereum", CU, 1))


async def test_the_method_that_runs_is_the_one_that_is_priced(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """A member that some decoders would take for the method is refused, not sold cheaper."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.client(customer) as client:
        answer = await client.post(RPC, json=call(1, "eth_chainId", Method="trace_block"))
    assert answer.status_code == 400
    assert error_of(answer, 1)["data"]["code"] == "bad_request_body"
    assert await upstream.received(RPC) == 0
    await books.expect(customer, 100 * CREDIT)


async def test_ten_thousand_calls_are_too_many(
    stage: Stage, books: Books, upstream: Upstream
) -> None:
    """A batch of 10 000 calls is a 413 in JSON-RPC's shape, and nothing of it is sent or paid."""
    customer = await stage.customer(1_000 * CREDIT)
    batch = [{"id": n, "method": "eth_chainId"} for n in range(10_000)]
    async with stage.client(customer) as client:
        answer = await client.post(RPC, json=batch)
    assert answer.status_code == 413
    error = error_of(answer)
    assert error["code"] == -32005
    assert error["data"]["code"] == "body_too_large"
    assert (error["data"]["limit_calls"], error["data"]["calls"]) == (1_000, 10_000)
    assert await upstream.received(RPC) == 0
    await books.expect(customer, 1_000 * CREDIT)


async def test_a_body_above_the_bound_is_a_413(stage: Stage, books: Books) -> None:
    """A body of 2 MB is refused by Envoy itself, in the same shape."""
    customer = await stage.customer(1_000 * CREDIT)
    body = json.dumps(call(1, "eth_call", padding="secretly" * 250_000))
    async with stage.client(customer) as client:
        answer = await client.post(RPC, content=body, headers=HEADERS)
    assert answer.status_code == 413
    error = error_of(answer)
    assert (error["code"], error["data"]["code"]) == (-32005, "body_too_large")
    await books.expect(customer, 1_000 * CREDIT)


NO_JSON = (None, -32700, "the body is not JSON")
NO_OBJECT = "a call is a JSON object whose method is text"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{secretly nope", NO_JSON),
        (b"", NO_JSON),
        (b"[" * 100_000, NO_JSON),
        (b"[]", (None, -32600, "an empty batch calls nothing")),
        (b"[1, 2]", (None, -32600, NO_OBJECT)),
        (b'{"jsonrpc": "2.0", "id": 7}', (7, -32600, "a call names no method")),
        (b'{"id": "x", "method": 5}', ("x", -32600, NO_OBJECT)),
        (b'{"id": 1, "method": "\xff\xfe"}', (1, -32700, "the body is not JSON")),
        (b'{"id": 1, "method": "eth_sign"}', (1, -32600, "no price for method 'eth_sign'")),
    ],
    ids=["no json", "empty", "deep", "no calls", "numbers", "none", "5", "utf-8", "unknown"],
)
async def test_what_is_no_call_is_a_400(
    stage: Stage, books: Books, body: bytes, told: tuple[Any, int, str]
) -> None:
    """Bodies that are no JSON-RPC, or call what no price knows, are refused and cost nothing."""
    customer = await stage.customer(100 * CREDIT)
    async with stage.client(customer) as client:
        answer = await client.post(RPC, content=body, headers=HEADERS)
    call_id, number, reason = told
    assert answer.status_code == 400
    error = error_of(answer, call_id)
    assert (error["code"], error["data"]["reason"]) == (number, reason)
    assert error["data"]["code"] == "bad_request_body"
    await books.expect(customer, 100 * CREDIT)


async def test_refusals_answer_every_call(stage: Stage, books: Books) -> None:
    """401 and 402 name the call's id; a batch gets an answer for each of its ids."""
    customer = await stage.customer(0)
    unknown = generate_key(lambda alphabet: alphabet[5])
    batch = [call(1, "eth_call"), call("two", "eth_call"), call(None, "eth_call")]
    async with stage.client() as client:
        missing = await client.post(RPC, json=call(4, "eth_call"))
        strange = await client.post(RPC, json=call(5, "eth_call"), headers={"x-api-key": unknown})
        poor = await client.post(RPC, json=batch, headers=customer.headers)
    error = error_of(missing, 4)
    assert (missing.status_code, error["code"]) == (401, -32041)
    assert error["data"]["code"] == "missing_key"
    assert error_of(strange, 5)["data"]["code"] == "unknown_key"
    assert poor.status_code == 402
    assert [reply["id"] for reply in poor.json()] == [1, "two", None]
    assert {reply["error"]["code"] for reply in poor.json()} == {-32042}
    data = poor.json()[0]["error"]["data"]
    assert data["code"] == "insufficient_credits"
    assert data["available_nanos"] == 0
    # Held would have been the most: 64 KiB of answer for each of three calls.
    most_bytes = len(poor.request.content) + 3 * 65_536
    assert data["needed_nanos"] == -(-45 * most_bytes * CU // (10 * 3 * 1_024))
    await books.expect(customer, 0)


async def test_too_many_requests_are_a_429_of_jsonrpc(stage: Stage, books: Books) -> None:
    """Envoy's own refusal of the rate limiter has JSON-RPC's shape too, with the wait."""
    customer = await stage.customer(100 * CREDIT, plan="paced")
    async with stage.client(customer) as client:
        answers = [await client.post(RPC, json=call(n, "eth_chainId")) for n in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    passed = [answer for answer in answers if answer.status_code == 200]
    assert len(refused) + len(passed) == 8
    assert refused
    for answer in refused:
        error = error_of(answer)
        assert (error["code"], error["data"]["code"]) == (-32005, "rate_limited")
        assert answer.headers["retry-after"] == "1"
    events = [Paid("ethereum", CU, 1)] * len(passed)
    await books.expect(customer, 100 * CREDIT, *events, released=len(refused))
