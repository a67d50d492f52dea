"""The bodies of refusals: JSON, and JSON-RPC 2.0 for one call and for many."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.refusals import KINDS, Refusal, refuse
from extauthz.decision import Refused
from extauthz.jsonrpc import MAX_ECHO_BYTES, read_calls
from extauthz.refusal_body import RPC_CODES, write_body
from tests.unit.extauthz.test_response import facts

SHORT = refuse("insufficient_credits", "too little", available_nanos=5, needed_nanos=9)


def written(body: str | bytes, refusal: Any = SHORT) -> Any:
    return json.loads(
        write_body(Refused("id-1", refusal, "jsonrpc", facts(body=body)), "https://x")
    )


def test_json_says_all_in_one_object() -> None:
    """Code, message, reason, action, address, request id and the numbers."""
    body = json.loads(write_body(Refused("id-1", SHORT, "json", facts()), "https://x"))
    assert body == {
        "error": {
            "code": "insufficient_credits",
            "message": SHORT.kind.message,
            "reason": "too little",
            "action": SHORT.kind.action,
            "url": "https://x",
            "request_id": "id-1",
            "available_nanos": 5,
            "needed_nanos": 9,
        }
    }


def test_a_call_is_answered_under_its_id() -> None:
    """An error object of JSON-RPC, with ours as its data."""
    assert written('{"id":"q","method":"m"}') == {
        "jsonrpc": "2.0",
        "id": "q",
        "error": {
            "code": -32042,
            "message": SHORT.kind.message,
            "data": {
                "code": "insufficient_credits",
                "reason": "too little",
                "action": SHORT.kind.action,
                "url": "https://x",
                "request_id": "id-1",
                "available_nanos": 5,
                "needed_nanos": 9,
            },
        },
    }


def test_a_batch_is_answered_call_by_call() -> None:
    """Each id gets its answer, a notification none."""
    answers = written('[{"id":1,"method":"a"},{"method":"b"},{"id":"c","method":"c"}]')
    assert [answer["id"] for answer in answers] == [1, "c"]
    assert answers[0]["error"] == answers[1]["error"]


@pytest.mark.parametrize(
    "body", ["", "nope", "[]", '[{"method":"only a notification"}]', "[1,2]", b"\xff"]
)
def test_what_has_no_ids_is_answered_once_with_null(body: str | bytes) -> None:
    """As JSON-RPC has it for requests that cannot be read; an empty array is never sent."""
    assert written(body)["id"] is None


@pytest.mark.parametrize(
    ("body", "number"),
    [("nope", -32700), ("[{]", -32700), ('{"method":', -32700), ("[]", -32600), ("5", -32600)],
)
def test_what_is_no_json_is_a_parse_error(body: str, number: int) -> None:
    """JSON-RPC tells a text that cannot be parsed from a request that cannot be."""
    refusal = read_calls(body, 10)
    assert isinstance(refusal, Refusal)
    assert written(body, refusal)["error"]["code"] == number


def test_a_large_batch_is_answered_once() -> None:
    """A refusal never grows beyond a bound, whatever the client sent."""
    body = "[" + ",".join(['{"id":1}'] * 1000) + "]"
    assert len(body) <= MAX_ECHO_BYTES
    assert len(written(body)) == 1000
    assert written("[" + ",".join(['{"id":1}'] * 5000) + "]")["id"] is None


def test_every_status_of_the_table_has_a_number() -> None:
    """No refusal of a JSON-RPC route is without its error number."""
    assert set(RPC_CODES) == {kind.http_status for kind in KINDS.values()}
    assert all(-32768 <= number <= -32000 for number in RPC_CODES.values())


@given(st.text(max_size=50), st.text(max_size=50))
def test_no_text_breaks_the_body(reason: str, body: str) -> None:
    """Quotes, line breaks and lone surrogates of a client stay inside their strings."""
    reason = reason.encode("utf-8", "replace").decode()
    refusal = refuse("bad_request_body", reason)
    found = written(body.encode("utf-8", "replace"), refusal)
    first = found[0] if isinstance(found, list) else found
    assert first["error"]["data"]["reason"] == reason
