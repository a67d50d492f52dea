"""The answers shown in docs/refusals.md are what the front door says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from billing.plans import Limits
from billing.refusals import KINDS
from envoyapi.auth_v3_pb2 import CheckResponse
from tests.unit.extauthz.front_door import (
    CREDIT,
    NOW_S,
    RPC_CALL,
    FrontDoor,
    envoy_check,
    make_catalog,
    make_front_door,
    make_key,
    subscribe,
)

PAGE = Path(__file__).parents[3] / "docs" / "refusals.md"
PAY_HERE = "https://billing.example.test/credits"
BY_THE_TURNSTILE = {"rate_limited"}
BATCH = f'[{RPC_CALL},{{"jsonrpc":"2.0","method":"eth_blockNumber"}},{RPC_CALL.replace("7", "8")}]'


@dataclass(frozen=True)
class Shown:
    """How the answer of one example comes about."""

    customer: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    route: str = "ping"
    check: dict[str, Any] = field(default_factory=dict)
    key: Callable[[str], str | None] = lambda key: key
    repeat: bool = False
    redis_away: bool = False


def _suspended(status: str) -> dict[str, Any]:
    return {"subscriptions": {"llm": subscribe("llm", status=status)}}


COMPLETION: dict[str, Any] = {"route": "chat"}
EXAMPLES: dict[str, Shown] = {
    "missing_key": Shown(key=lambda _: None),
    "malformed_key": Shown(key=lambda _: "tk_short"),
    "unknown_key": Shown(key=lambda _: make_key(404)),
    "revoked_key": Shown({"key_status": "revoked"}),
    "expired_key": Shown({"key_expires_s": NOW_S}),
    "insufficient_credits": Shown({"balance_nanos": 400_000}),
    "quota_exceeded": Shown(limits=Limits(units_per_period=1), repeat=True),
    "spend_cap_reached": Shown(limits=Limits(spend_per_day_nanos=CREDIT), repeat=True),
    "request_too_expensive": Shown(limits=Limits(max_request_nanos=CREDIT // 2)),
    "no_subscription": Shown({"subscriptions": {}}),
    "subscription_suspended": Shown(_suspended("suspended")),
    "subscription_cancelled": Shown(_suspended("cancelled")),
    "account_suspended": Shown({"account_status": "suspended"}),
    "key_not_allowed": Shown({"scopes": frozenset({"rpc"})}),
    "unknown_route": Shown(route="nowhere"),
    "body_too_large": Shown(check={"size_bytes": 2 << 20}),
    "bad_request_body": Shown(
        route="chat", check={"lifted": {"model": "small", "max_tokens": -1}, "size_bytes": 40}
    ),
    "unknown_model": Shown(route="chat", check={"lifted": {"model": "huge"}, "size_bytes": 40}),
    "too_many_in_flight": Shown(limits=Limits(max_in_flight=1), repeat=True),
    "authorization_unavailable": Shown(redis_away=True),
}
RPC_EXAMPLES = {
    "one call": Shown({"balance_nanos": 400_000}, route="rpc_ping", check={"body": RPC_CALL}),
    "a batch": Shown(route="rpc_ping", check={"body": BATCH}, key=lambda _: None),
    "no JSON-RPC": Shown(route="rpc_ping", check={"body": "nope"}),
}


async def answer(shown: Shown) -> CheckResponse:
    door: FrontDoor = make_front_door(make_catalog(limits=shown.limits, action_url=PAY_HERE))
    key = door.customer(**{"plan": "bounded", **shown.customer})
    wire = envoy_check(shown.route, shown.key(key), **shown.check)
    if shown.repeat:
        await door.check(wire)
    door.reserver.hot.away = shown.redis_away
    return await door.check(wire)


def as_http(response: CheckResponse) -> str:
    """The answer as the page shows it, but for the ids, which are new each time."""
    denied = response.denied_response
    headers = {option.header.key: option.header.value for option in denied.headers}
    del headers["x-request-id"]
    lines = [f"HTTP/1.1 {int(denied.status.code)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    body = json.loads(denied.body)
    return "\n".join([*lines, "", json.dumps(_without_ids(body), indent=2)])


def _without_ids(body: Any) -> Any:
    if isinstance(body, list):
        return [_without_ids(one) for one in body]
    if isinstance(body, dict):
        return {
            name: "..." if name == "request_id" else _without_ids(value)
            for name, value in body.items()
        }
    return body


def examples() -> set[str]:
    """The code blocks of the page."""
    return {block.strip() for block in PAGE.read_text(encoding="utf-8").split("```")[1::2]}


@pytest.mark.parametrize("code", EXAMPLES)
async def test_each_example_is_what_the_door_says(code: str) -> None:
    """Status, headers and body stand on the page as they are sent."""
    written = as_http(await answer(EXAMPLES[code]))
    assert f'"code": "{code}"' in written
    assert written in examples()


@pytest.mark.parametrize("name", RPC_EXAMPLES)
async def test_the_json_rpc_examples_are_what_the_door_says(name: str) -> None:
    """One call, a batch, and a body that is none."""
    assert as_http(await answer(RPC_EXAMPLES[name])) in examples()


def test_every_code_has_its_place_on_the_page() -> None:
    """A heading for each row of the table, and an example for each that this door gives."""
    text = PAGE.read_text(encoding="utf-8")
    assert [code for code in KINDS if f"\n### `{code}`\n" not in text] == []
    assert set(EXAMPLES) | BY_THE_TURNSTILE == set(KINDS)
