"""What a real Envoy sends, as recorded, is taken for what the client sent.

``recorded_checks/`` holds serialised ``CheckRequest`` messages of Envoy 1.39.3, configured by
``tollkeeper envoy render`` from the example's ``tollkeeper.yaml``; the names say what the client
did.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from billing.keys import generate_key
from billing.refusals import Refusal
from extauthz.facts import Facts
from extauthz.jsonrpc import read_calls
from extauthz.request import read_check

RECORDED = Path(__file__).parent / "recorded_checks"
KEY = generate_key(lambda alphabet: alphabet[7])


def recorded(name: str) -> bytes:
    return (RECORDED / f"{name}.binpb").read_bytes()


def facts(name: str) -> Facts:
    return read_check(recorded(name))


@pytest.mark.parametrize(
    ("name", "route", "lifted"),
    [
        (
            "chat",
            "chat",
            {
                "model": "gpt-4o-mini",
                "max_tokens": 100.0,
                "n": 2.0,
                "stream": True,
                "include_usage": True,
            },
        ),
        ("chat_chunked", "chat", {"model": "gpt-4o-mini"}),
        ("chat_not_json", "chat", {"bad_json": True}),
        ("chat_absurd", "chat", {"model": "gpt-4o-mini", "max_tokens": -5e300}),
        ("tool", "tool", {"cpu_s": 2.0, "memory_mib": 512.0}),
        ("reported", "reported", {"model": "gpt-4o-mini", "max_tokens": 100.0}),
        ("ping", "ping", {}),
        ("rpc", "ethereum", {}),
    ],
)
def test_route_and_lifted_values_arrive(name: str, route: str, lifted: dict[str, Any]) -> None:
    """The route's name and what Envoy read out of the body, with its types."""
    found = facts(name)
    assert (found.route, dict(found.lifted), found.key) == (route, lifted, KEY)


@pytest.mark.parametrize("name", ["chat_no_key", "chat_two_keys"])
def test_no_key_and_two_keys_are_no_key(name: str) -> None:
    """Neither a missing key nor two different ones identify anybody."""
    expected = {"chat_no_key": "missing_key", "chat_two_keys": "malformed_key"}[name]
    key = facts(name).key
    assert isinstance(key, Refusal)
    assert key.kind.code == expected


def test_keys_are_found_where_clients_put_them() -> None:
    """Bearer, x-api-key and query."""
    assert facts("chat").key_headers == ("authorization",)
    assert facts("rpc").key_headers == ("x-api-key",)
    in_query = facts("rpc_query_key")
    assert (in_query.key, in_query.key_headers, in_query.key_in_query) == (KEY, (), True)


@pytest.mark.parametrize(
    ("name", "size_bytes"), [("chat", 144), ("chat_chunked", 23), ("rpc", 63), ("ping", 0)]
)
def test_the_length_of_the_body_is_known(name: str, size_bytes: int) -> None:
    """Also of a chunked one, which Envoy buffers before it asks."""
    assert facts(name).body_bytes == size_bytes


def test_json_rpc_bodies_arrive_whole() -> None:
    """Single, batch with a notification, and what is no JSON at all."""
    assert read_calls(facts("rpc").body, 10) == {"eth_blockNumber": 1}
    batch = {"eth_blockNumber": 1, "eth_call": 1, "eth_chainId": 1}
    assert read_calls(facts("rpc_batch").body, 10) == batch
    assert isinstance(read_calls(facts("rpc_not_json").body, 10), Refusal)


def test_forged_headers_do_not_arrive() -> None:
    """The rendered Envoy takes headers of ours away before anything looks at the request."""
    assert facts("ping_forged").our_headers == ()
