"""Every refusal of the front door, in JSON and in JSON-RPC, from bytes to bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from billing.catalog import Route
from billing.plans import Limits
from billing.refusals import KINDS
from tests.unit.extauthz.front_door import (
    CREDIT,
    NOW_S,
    ROUTES,
    RPC_CALL,
    FrontDoor,
    envoy_check,
    make_catalog,
    make_front_door,
    make_key,
    subscribe,
)

BY_ANOTHER = "decided by the rate-limit service, not by this door"


@dataclass(frozen=True)
class Case:
    """One reason to be refused, and how to come by it: ``customer`` and ``check`` say how the usual
    customer and the usual check differ."""

    code: str
    customer: dict[str, Any] = field(default_factory=dict)
    limits: Limits | None = None
    check: dict[str, Any] = field(default_factory=dict)
    key: Callable[[str], str | None] = lambda key: key
    prepare: Callable[[FrontDoor], None] = lambda _: None
    holds_once: bool = False


def lose_redis(door: FrontDoor) -> None:
    door.reserver.hot.away = True


def suspended(status: str) -> dict[str, Any]:
    profiles = ("llm", "rpc")
    return {"subscriptions": {name: subscribe(name, status=status) for name in profiles}}


CASES = [
    Case("missing_key", key=lambda _: None),
    Case("missing_key", key=lambda _: ""),
    Case("malformed_key", key=lambda _: "tk_short"),
    Case("malformed_key", key=lambda key: key[:-1] + "!"),
    Case("malformed_key", key=lambda key: f"{key},{key}"),
    Case("malformed_key", key=lambda key: key, check={"headers": {"x-api-key": make_key(999)}}),
    Case("unknown_key", key=lambda _: make_key(404)),
    Case("revoked_key", customer={"key_status": "revoked"}),
    Case("expired_key", customer={"key_expires_s": NOW_S}),
    Case("account_suspended", customer={"account_status": "suspended"}),
    Case("account_suspended", customer={"account_status": "closed"}),
    Case("key_not_allowed", customer={"scopes": frozenset({"elsewhere"})}),
    Case("no_subscription", customer={"subscriptions": {}}),
    Case("no_subscription", customer={"plan": "withdrawn"}),
    Case("subscription_suspended", customer=suspended("suspended")),
    Case("subscription_cancelled", customer=suspended("cancelled")),
    Case("insufficient_credits", customer={"balance_nanos": CREDIT - 1}),
    Case("quota_exceeded", limits=Limits(units_per_period=0)),
    Case("quota_exceeded", limits=Limits(spend_per_period_nanos=CREDIT - 1)),
    Case("quota_exceeded", limits=Limits(units_per_period=1), holds_once=True),
    Case("spend_cap_reached", limits=Limits(spend_per_day_nanos=CREDIT), holds_once=True),
    Case("request_too_expensive", limits=Limits(max_request_nanos=CREDIT - 1)),
    Case("too_many_in_flight", limits=Limits(max_in_flight=1), holds_once=True),
    Case("body_too_large", check={"size_bytes": (1 << 20) + 1}),
    Case("body_too_large", check={"headers": {"x-envoy-auth-partial-body": "true"}}),
    Case("authorization_unavailable", prepare=lose_redis),
]
SHAPES = {"json": "ping", "jsonrpc": "rpc_ping"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
async def test_every_refusal_is_told_in_the_shape_of_the_route(case: Case, shape: str) -> None:
    """Status, code, sentence and request id are those of the table, in JSON and in JSON-RPC."""
    door = make_front_door(make_catalog(limits=case.limits, action_url="https://pay.example"))
    key = door.customer(**{"plan": "bounded", **case.customer})
    wire = envoy_check(SHAPES[shape], case.key(key), **{"body": RPC_CALL, **case.check})
    if case.holds_once:
        assert (await door.check(wire)).HasField("ok_response")
    case.prepare(door)
    answer = await door.refusal(wire)
    kind = KINDS[case.code]
    assert answer.error["code"] == case.code
    assert answer.status == kind.http_status
    assert answer.error["message"] == kind.message
    assert answer.error["action"] == kind.action
    assert answer.error["url"] == "https://pay.example"
    assert answer.error["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert ("www-authenticate" in answer.headers) == (kind.http_status == 401)
    if shape == "jsonrpc":
        assert answer.body["id"] == 7
    assert len(door.reserver.rows) == int(case.holds_once)
    assert door.counts.decisions[SHAPES[shape], case.code] == 1


def test_no_code_of_the_table_is_left_out() -> None:
    """Every refusal that this door can give has a case, here or below."""
    below = {"unknown_route", "unknown_model", "bad_request_body"}
    assert {case.code for case in CASES} | below | {"rate_limited"} == set(KINDS), BY_ANOTHER


async def test_an_unknown_route_is_refused_and_makes_no_label() -> None:
    """A route that the configuration does not name is a 403, counted under one name for all."""
    door = make_front_door()
    answer = await door.refusal(envoy_check("made-up", door.customer()))
    assert (answer.status, answer.error["code"]) == (403, "unknown_route")
    assert dict(door.counts.decisions) == {("unknown", "unknown_route"): 1}


async def test_an_unknown_model_is_refused() -> None:
    """A model without a price is a 400 that names it."""
    door = make_front_door()
    lifted = {"model": "huge", "max_tokens": 5}
    answer = await door.refusal(envoy_check("chat", door.customer(), lifted=lifted, size_bytes=100))
    assert (answer.status, answer.error["code"]) == (400, "unknown_model")
    assert answer.error["model"] == "huge"


@pytest.mark.parametrize(
    "asked",
    [
        {"bad_json": True},
        {},
        {"model": 5},
        {"model": "small", "max_tokens": -1},
        {"model": "small", "max_tokens": 1e300},
        {"model": "small", "max_tokens": 1.5},
        {"model": "small", "max_tokens": "100"},
        {"model": "small", "max_completion_tokens": 0},
        {"model": "small", "n": 10_000},
    ],
    ids=str,
)
async def test_a_completion_that_cannot_be_priced_is_refused(asked: dict[str, object]) -> None:
    """No JSON, no model, absurd or negative numbers: 400, and nothing is held."""
    door = make_front_door()
    answer = await door.refusal(envoy_check("chat", door.customer(), lifted=asked, size_bytes=40))
    assert (answer.status, answer.error["code"]) == (400, "bad_request_body")
    assert door.reserver.rows == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("not json", "bad_request_body"),
        ("", "bad_request_body"),
        ("[]", "bad_request_body"),
        ("[1]", "bad_request_body"),
        ('{"id":1}', "bad_request_body"),
        ('{"id":1,"method":"eth_unpriced"}', "bad_request_body"),
        ("[" + ",".join([RPC_CALL] * 10_000) + "]", "body_too_large"),
    ],
    ids=lambda text: text[:30],
)
async def test_a_json_rpc_body_that_cannot_be_priced_is_refused(body: str, code: str) -> None:
    """No JSON, an empty batch, no method, a batch of 10 000 calls: refused, nothing held."""
    door = make_front_door()
    answer = await door.refusal(envoy_check("ethereum", door.customer(), body=body))
    assert answer.error["code"] == code
    assert answer.status == KINDS[code].http_status
    assert door.reserver.rows == []


def test_the_routes_of_these_tests_have_both_shapes() -> None:
    """The two routes by which every refusal is tried differ in nothing but their shape."""
    routes: dict[str, Route] = {route.name: route for route in ROUTES}
    assert (routes["ping"].shape, routes["rpc_ping"].shape) == ("json", "jsonrpc")
    assert routes["ping"].tariff == routes["rpc_ping"].tariff
