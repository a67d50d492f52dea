"""JSON-RPC bodies: the methods that a node will run, and the ids that a refusal names."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.refusals import Refusal
from extauthz.jsonrpc import MAX_ECHO_BYTES, MAX_METHOD_CHARS, Body, read_calls, reply_ids

CALL = '{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"method":"x"}]}'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
methods = st.text(min_size=1, max_size=MAX_METHOD_CHARS)
calls = st.fixed_dictionaries(
    {"method": methods, "jsonrpc": st.just("2.0"), "params": json_values},
    optional={"id": st.none() | st.integers(-(2**70), 2**70) | st.text(max_size=20)},
)


def code(found: object) -> str:
    assert isinstance(found, Refusal), found
    return found.kind.code


@pytest.mark.parametrize("body", [CALL, CALL.encode(), f" \n\t{CALL} ", f"[{CALL}]"])
def test_a_call_is_counted_by_its_method(body: Body) -> None:
    """Alone or in a batch, as text or as bytes; parameters do not matter."""
    assert read_calls(body, 10) == {"eth_call": 1}


@given(st.lists(calls, min_size=1, max_size=8))
def test_a_batch_is_counted_as_any_json_parser_reads_it(batch: list[dict[str, Any]]) -> None:
    """Every call counts, notifications included."""
    expected = Counter(call["method"] for call in batch)
    assert read_calls(json.dumps(batch), 8) == expected
    assert read_calls(json.dumps(batch, ensure_ascii=False).encode("utf-8", "replace"), 8)


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "nope",
        "{",
        "[",
        f"{CALL}{CALL}",
        "[]",
        "[1]",
        '["a"]',
        "[[]]",
        "[null]",
        "1",
        '"text"',
        "null",
        "{}",
        '{"method":1}',
        '{"method":null}',
        '{"method":""}',
        '{"method":"' + "m" * (MAX_METHOD_CHARS + 1) + '"}',
        f'[{CALL},{{"id":2}}]',
        b"\xff\xfe",
        b'{"method":"\xff"}',
        "[" * 100_000,
        '{"method":"a","params":' + "[" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_call_is_a_bad_body(body: Body) -> None:
    """Nothing of it makes the reader stumble."""
    assert code(read_calls(body, 10)) == "bad_request_body"


@pytest.mark.parametrize("twin", ["Method", "METHOD", "methoD"])
def test_a_twin_of_the_method_is_refused(twin: str) -> None:
    """Go's decoder ignores case: the node would run a method that nobody priced."""
    body = f'{{"method":"eth_blockNumber","{twin}":"debug_traceTransaction"}}'
    assert code(read_calls(body, 10)) == "bad_request_body"
    assert read_calls('{"method":"eth_blockNumber","extra":1}', 10) == {"eth_blockNumber": 1}


def test_of_a_method_that_stands_twice_the_last_counts() -> None:
    """As in the decoders of the nodes."""
    body = '{"method":"eth_blockNumber","method":"trace_block"}'
    assert read_calls(body, 10) == {"trace_block": 1}
    assert read_calls('{"\\u006dethod":"trace_block"}', 10) == {"trace_block": 1}


def test_a_batch_has_a_limit() -> None:
    """At the limit it passes, beyond it is too large, with both numbers."""
    assert read_calls(f"[{','.join([CALL] * 10)}]", 10) == {"eth_call": 10}
    refusal = read_calls(f"[{','.join([CALL] * 11)}]", 10)
    assert code(refusal) == "body_too_large"
    assert isinstance(refusal, Refusal)
    assert refusal.numbers == {"limit_calls": 10, "calls": 11}


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (CALL, b"1"),
        ('{"id":"a\\"b","method":"m"}', b'"a\\"b"'),
        ('{"id":123456789012345678901234567890}', b"123456789012345678901234567890"),
        ('{"id":-1.5e3}', b"-1.5e3"),
        ('{"id":null}', b"null"),
        ('{"method":"m"}', b"null"),
        ('{"id":{"a":1}}', b"null"),
        ('{"id":[1]}', b"null"),
        ('{"id":true}', b"null"),
        ('{"id":"' + "x" * 200 + '"}', b"null"),
        (b'{"id":"\xff"}', b"null"),
        (b'[{"id":"\xff"},{"id":"\xc3\xa4"}]', [b"null", b'"\xc3\xa4"']),
        ("nope", b"null"),
        ("", b"null"),
        ("[]", b"null"),
        ('[{"method":"m"}]', b"null"),
        ('[{"id":1},{"method":"m"},{"id":"b"}]', [b"1", b'"b"']),
        ("[1]", b"null"),
        ("[" * 100_000, b"null"),
        ("[" + ",".join(['{"id":1}'] * MAX_ECHO_BYTES) + "]", b"null"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_refusal_names_the_ids_of_the_calls(body: Body, ids: list[bytes] | bytes) -> None:
    """As the client wrote them; null where there is none that may be echoed."""
    assert reply_ids(body) == ids


@given(st.text(max_size=60) | st.binary(max_size=60) | json_values.map(json.dumps))
def test_every_echoed_id_is_json(body: Body) -> None:
    """Whatever a client sends, what is echoed can stand in a JSON document."""
    found = reply_ids(body)
    for text in [found] if isinstance(found, bytes) else found:
        assert isinstance(json.loads(text), str | int | float | None)


@given(st.text(alphabet='"\\-+.0123456789eEnul tfx\x01', max_size=12))
def test_an_id_that_is_no_json_is_not_echoed(text: str) -> None:
    """Half a number or a broken text does not slip through."""
    found = reply_ids(f'{{"id":{text}}}')
    assert isinstance(found, bytes)
    json.loads(found)
