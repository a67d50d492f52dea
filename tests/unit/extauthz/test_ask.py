"""What the meter of a route is told about a request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from billing.catalog import Route
from billing.meters.values import Ask
from billing.refusals import Refusal
from extauthz.ask import read_ask
from extauthz.request import read_check
from tests.unit.extauthz.front_door import ROUTES, RPC_CALL, envoy_check

BY_NAME = {route.name: route for route in ROUTES}


def ask(route: str, **check: Any) -> Ask | Refusal:
    return read_ask(BY_NAME[route], read_check(envoy_check(route, **check)))


def test_a_completion_is_told_as_the_client_wrote_it() -> None:
    """Model, bound of the output, choices, stream, and the size of the body."""
    lifted = {"model": "small", "max_tokens": 7, "n": 2, "stream": True}
    assert ask("chat", lifted=lifted, size_bytes=50) == Ask(
        body_bytes=50, model="small", max_output_tokens=7, choices=2, stream=True
    )


@pytest.mark.parametrize(
    ("lifted", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 9, "max_completion_tokens": 6}, 9),
        ({"max_tokens": "x", "max_completion_tokens": 6}, "x"),
        ({"max_tokens": 5, "max_completion_tokens": "y"}, "y"),
    ],
)
def test_of_two_bounds_the_larger_one_counts(lifted: dict[str, Any], expected: object) -> None:
    """Upstreams obey either name; one that is no number is left for the meter to refuse."""
    found = ask("chat", lifted=lifted)
    assert isinstance(found, Ask)
    assert found.max_output_tokens == expected


@pytest.mark.parametrize(
    ("lifted", "passes"),
    [
        ({"stream": True, "include_usage": True}, True),
        ({"stream": True, "include_usage": False}, False),
        ({"stream": True, "include_usage": "true"}, False),
        ({"stream": True}, False),
        ({"stream": False}, True),
        ({}, True),
    ],
)
def test_a_route_may_require_usage_of_streams(lifted: dict[str, Any], passes: bool) -> None:
    """A stream that does not ask for its usage is refused by name where the route says so."""
    facts = read_check(envoy_check("chat", lifted=lifted))
    found = read_ask(replace(BY_NAME["chat"], stream_usage="require"), facts)
    assert isinstance(found, Ask) is passes
    if isinstance(found, Refusal):
        assert found.kind.code == "bad_request_body"
        assert found.numbers == {"field": "stream_options.include_usage"}
    assert isinstance(read_ask(BY_NAME["chat"], facts), Ask)


def test_only_true_means_a_stream() -> None:
    """A text in its place is not believed."""
    found = ask("chat", lifted={"stream": "yes"})
    assert isinstance(found, Ask)
    assert not found.stream


def test_a_body_that_is_no_json_matters_only_where_it_is_read() -> None:
    """The marker refuses a completion; a flat price does not look at bodies."""
    refused = ask("chat", lifted={"bad_json": True})
    assert isinstance(refused, Refusal)
    assert refused.kind.code == "bad_request_body"
    assert ask("ping", lifted={"bad_json": True}) == Ask()


def test_a_run_is_told_what_it_asked_for() -> None:
    """The numbers of a tool's request reach its meter."""
    found = ask("tool", lifted={"cpu_s": 2, "memory_mib": 512}, size_bytes=9)
    assert found == Ask(body_bytes=9, requested={"cpu_s": 2.0, "memory_mib": 512.0})


def test_calls_are_told_by_method() -> None:
    """The methods of a JSON-RPC body, with its length."""
    found = ask("ethereum", body=RPC_CALL)
    assert found == Ask(body_bytes=len(RPC_CALL), calls={"eth_blockNumber": 1})


def test_a_json_rpc_route_reads_its_body_whatever_its_meter() -> None:
    """A flat price does not let a batch of any size pass."""
    refused = ask("rpc_ping", body="[]")
    assert isinstance(refused, Refusal)
    assert refused.kind.code == "bad_request_body"


@pytest.mark.parametrize("route", [BY_NAME["ping"], BY_NAME["chat"]], ids=lambda r: r.name)
def test_a_body_beyond_the_routes_bound_is_too_large(route: Route) -> None:
    """One byte decides."""
    at_most = ask(route.name, size_bytes=route.max_body_bytes)
    assert isinstance(at_most, Ask)
    beyond = ask(route.name, size_bytes=route.max_body_bytes + 1)
    assert isinstance(beyond, Refusal)
    assert beyond.kind.code == "body_too_large"
    assert beyond.numbers == {"limit_bytes": route.max_body_bytes}
