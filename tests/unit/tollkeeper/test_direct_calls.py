"""Calls over one connection: each gets its own answer, whatever else happens to it or beside it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from h2.connection import H2Connection
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.tollkeeper.direct_peer import REQUEST, Gate, House, Peer
from tollkeeper.unary.trace_headers import with_trace_headers

MESSAGES = [b"", b"x", b"\0" * 5, b"long" * 9_000]


def test_a_call_is_answered() -> None:
    """Headers, one message, trailers, in this order and nothing else."""
    house = House()
    peer = Peer(house)
    answer = peer.ask(b"hello")
    assert answer.message == b"hello"
    assert answer.headers[b":status"] == b"200"
    assert answer.headers[b"content-type"] == b"application/grpc"
    assert house.calls.ended == {"OK": 1}
    house.check_idle()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=400), st.randoms(use_true_random=False))
def test_any_cut_of_the_bytes_gives_the_same_answers(cuts: list[int], rng: random.Random) -> None:
    """In single bytes, in the middle of a frame, many frames at once."""
    house = House()
    peer = Peer(house)
    for message in MESSAGES[:3]:
        peer.call(message)
    sent, at = peer.h2.data_to_send(), 0
    while at < len(sent):
        size = rng.choice(cuts)
        peer.raw(sent[at : at + size])
        at += size
    assert [peer.answers[number].message for number in (1, 3, 5)] == MESSAGES[:3]
    house.check_idle()


def test_even_the_greeting_may_come_byte_by_byte() -> None:
    """From the first byte on."""
    house = House()
    connection, wire = house.connect()
    client = H2Connection()
    client.initiate_connection()
    client.send_headers(1, REQUEST)
    client.send_data(1, b"\0\0\0\0\2hi", end_stream=True)
    for byte in client.data_to_send():
        connection.data_received(bytes([byte]))
    house.loop.settle()
    assert b"\0\0\0\0\2hi" in wire.take()


@given(st.permutations(range(12)))
def test_many_calls_at_once_are_answered_in_any_order(order: list[int]) -> None:
    """The answer goes to whom it belongs, whoever is answered first."""
    gate = Gate()
    house = House(gate)
    peer = Peer(house)
    streams = [peer.call(b"%d" % number) for number in range(12)]
    peer.turn()
    assert (house.calls.in_flight, len(gate.waiting)) == (12, 12)
    for number in order:
        gate.open(b"%d" % number, b"for %d" % number)
        peer.turn()
        assert peer.answers[streams[number]].message == b"for %d" % number
    house.check_idle()


def test_large_messages_arrive_whole() -> None:
    """In both directions, in many frames."""
    house = House()
    peer = Peer(house)
    for size in (16_379, 16_380, 70_000):
        message = random.Random(size).randbytes(size)
        stream = peer.begin()
        body = b"\0" + size.to_bytes(4) + message
        for begin in range(0, len(body), 9_999):
            peer.h2.send_data(stream, body[begin : begin + 9_999])
            peer.turn()
        peer.h2.end_stream(stream)
        peer.turn()
        assert peer.answers[stream].message == message


def test_a_call_taken_back_is_cancelled() -> None:
    """The method is cancelled and nothing is sent; the others go on."""
    gate = Gate()
    house = House(gate)
    peer = Peer(house)
    first, second = peer.call(b"first"), peer.call(b"second")
    peer.turn()
    peer.h2.reset_stream(first, ErrorCodes.CANCEL)
    peer.turn()
    assert (gate.cancelled, list(peer.answers)) == ([b"first"], [])
    gate.open(b"second")
    peer.turn()
    assert peer.answers[second].message == b"second"
    assert house.calls.ended == {"CANCELLED": 1, "OK": 1}
    house.check_idle()


def test_a_lost_connection_cancels_its_calls_alone() -> None:
    """Those of others go on."""
    gate = Gate()
    house = House(gate)
    peer, other = Peer(house), Peer(house)
    peer.call(b"lost")
    peer.turn()
    other.call(b"kept")
    other.turn()
    peer.wire.abort()
    house.loop.settle()
    assert (gate.cancelled, list(gate.waiting), len(house.roll)) == (
        [b"lost"],
        [b"lost", b"kept"],
        1,
    )
    gate.open(b"kept")
    other.turn()
    assert other.answers[1].message == b"kept"
    house.check_idle()


async def _stubborn(message: bytes) -> bytes:
    """Ends what it has begun, cancelled or not."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        return b"made for " + message
    raise AssertionError


def test_an_answer_nobody_takes_is_given_back() -> None:
    """The client left while it was made, in either way; what it holds can end."""
    untaken: list[bytes] = []
    house = House(_stubborn, gone=untaken.append)
    peer, other = Peer(house), Peer(house)
    for client, message in ((peer, b"A"), (other, b"B")):
        client.call(message)
        client.turn()
    peer.h2.reset_stream(1)
    peer.turn()
    other.wire.abort()
    house.loop.settle()
    assert untaken == [b"made for A", b"made for B"]
    assert house.calls.ended == {"CANCELLED": 2}
    house.check_idle()


def test_giving_back_may_fail() -> None:
    """It is logged, and breaks nothing else."""

    def unwilling(_answer: bytes) -> None:
        raise ZeroDivisionError("cannot")

    assert len(logged_of_an_untaken_answer(unwilling)) == 1


def test_what_nothing_hangs_on_is_not_given_back() -> None:
    """Most methods hold nothing for their answers."""
    assert logged_of_an_untaken_answer(None) == []


def logged_of_an_untaken_answer(gone: Callable[[bytes], None] | None) -> list[Any]:
    house = House(_stubborn, gone=gone)
    peer = Peer(house)
    peer.call(b"A")
    peer.turn()
    peer.h2.reset_stream(1)
    with capture_logs() as logs:
        peer.turn()
    assert house.calls.ended == {"CANCELLED": 1}
    house.check_idle()
    return list(logs)


def test_trace_headers_are_there_for_the_method() -> None:
    """Where traces are asked for: those of this call, and no others."""
    gate: list[dict[str, str]] = []

    async def told(message: bytes, sent: object) -> bytes:
        gate.append(dict(sent))  # type: ignore[call-overload]
        await asyncio.sleep(0)
        return message

    peer = Peer(House(with_trace_headers(told), traced=True))
    peer.call(b"a", (b"traceparent", b"00-1"), (b"tracestate", b"x=1"), (b"other", b"1"))
    peer.call(b"b", (b"traceparent", b"00-2"), (b"tracestate", b"x" * 600))
    peer.call(b"c")
    peer.turn()
    assert gate == [{"traceparent": "00-1", "tracestate": "x=1"}, {"traceparent": "00-2"}, {}]
    assert [peer.answers[number].message for number in (1, 3, 5)] == [b"a", b"b", b"c"]
