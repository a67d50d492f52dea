"""How connections end, and what ends with them."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.tollkeeper.direct_peer import PREFACE, REQUEST, Gate, House, Peer, frame, framed
from tollkeeper.unary.status import Code

DATA, HEADERS, RESET, SETTINGS, PING, WINDOW = 0, 1, 3, 4, 6, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED, CANCEL, CALM = 0, 1, 2, 7, 8, 11
BROKEN = frame(PING, 0, 1, bytes(8))


@pytest.mark.parametrize("can_half_close", [True, False])
def test_after_a_broken_protocol_nothing_is_answered(*, can_half_close: bool) -> None:
    """What was in hand is cancelled, what still comes is not read, and nothing is written, by
    whomever; after a moment the transport is closed."""
    gate = Gate()
    house = House(gate, linger_s=2.0, body_s=0.1)
    peer = Peer(house, can_half_close=can_half_close)
    peer.call(b"in hand")
    peer.begin()
    peer.turn()
    more = peer.call(b"more")
    sent = peer.h2.data_to_send()
    peer.raw(BROKEN + sent)
    assert (peer.ended_by(), gate.cancelled) == (PROTOCOL_ERROR, [b"in hand"])
    peer.connection.data_received(sent + BROKEN)
    house.loop.settle()
    assert (more in peer.answers, len(gate.waiting), peer.connection.busy) == (False, 1, False)
    if can_half_close:
        assert not peer.wire.lost
        house.loop.advance(1.0)
        peer.connection.look(house.loop.time())
        peer.connection.go_away()
        assert peer.wire.take() == b""
        house.loop.advance(1.0)
    assert (peer.wire.lost, len(house.roll)) == (True, 0)
    house.check_idle()


def test_a_method_that_ends_after_the_connection_says_nothing() -> None:
    """Its answer is given back; neither that nor a status is written to who cannot hear it."""
    untaken: list[bytes] = []

    async def stubborn(message: bytes) -> bytes:
        try:
            return await gate(message)
        except BaseException as error:
            if message == b"raises":
                raise ValueError from error
            return message

    gate = Gate()
    house = House(stubborn, gone=untaken.append)
    peer = Peer(house)
    peer.call(b"answers")
    peer.call(b"raises")
    peer.turn()
    peer.raw(BROKEN)
    assert untaken == [b"answers"]
    assert house.calls.ended == {"CANCELLED": 1, "UNAVAILABLE": 1}
    house.check_idle()


def test_a_broken_connection_may_be_closed_at_once() -> None:
    """When the server ends before the moment is over."""
    house = House()
    peer = Peer(house)
    peer.raw(BROKEN)
    house.server.close()
    house.loop.settle()
    assert (peer.wire.lost, len(house.roll)) == (True, 0)


def test_a_fault_of_ours_ends_the_connection_and_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not rise into the event loop, and the peer is told whose fault it was."""
    house = House()
    peer = Peer(house)

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(house.calls, "begin", broken)
    with capture_logs() as logs:
        peer.call(b"x")
        peer.turn()
    assert peer.ended_by() == INTERNAL_ERROR
    assert logs[0]["exc_info"]
    house.check_idle()
    assert house.roll.broken == {"INTERNAL_ERROR": 1}


def test_too_many_calls_at_once_are_refused() -> None:
    """REFUSED_STREAM, which says that they may be asked again; the others are answered."""
    gate = Gate()
    house = House(gate, max_streams=2)
    peer = Peer(house)
    for message in (b"0", b"1"):
        peer.call(message)
    peer.turn()
    block = peer.h2.encoder.encode(REQUEST)
    third = frame(HEADERS, 4, 5, block) + frame(DATA, 1, 5, framed(b"x"))
    peer.connection.data_received(third)
    assert peer.wire.take() == frame(RESET, 0, 5, REFUSED.to_bytes(4))
    gate.open(b"0")
    gate.open(b"1")
    peer.turn()
    assert [peer.answers[number].message for number in (1, 3)] == [b"0", b"1"]
    peer.connection.data_received(frame(HEADERS, 5, 7, block))
    house.loop.settle()
    assert (peer.wire.take()[3:9], house.calls.ended) == (b"\1\5\0\0\0\7", {"OK": 2, "INTERNAL": 1})
    house.check_idle()


def test_too_many_connections_are_closed() -> None:
    """Without a word, and without being served; when another leaves, the next is taken."""
    house = House(max_connections=1)
    peer = Peer(house)
    refused, wire = house.connect()
    refused.data_received(PREFACE + frame(SETTINGS, 0, 0))
    house.loop.settle()
    assert (wire.lost, wire.take(), len(house.roll), house.roll.refused) == (True, b"", 1, 1)
    assert house.roll.broken == {}
    peer.check_alive()
    peer.wire.abort()
    house.loop.settle()
    Peer(house).check_alive()
    assert house.roll.refused == 1


@pytest.mark.parametrize("nuisance", ["reset", "window", "settings", "data"])
def test_nuisances_are_bounded(nuisance: str) -> None:
    """Calls taken back, faults that make us take them back, other windows: whoever goes on with
    them is told to keep calm."""
    house = House(Gate(), free_nuisances=11)  # the greeting of h2 has windows, too
    peer = Peer(house)

    def bother() -> None:
        stream = peer.call(b"x")
        peer.raw(
            {
                "reset": frame(RESET, 0, stream, CANCEL.to_bytes(4)),
                "window": frame(WINDOW, 0, stream, bytes(4)),
                "settings": frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff"),
                "data": frame(DATA, 0, stream, b"x"),
            }[nuisance]
        )

    for _ in range(10):
        bother()
        assert peer.ended_by() is None
    bother()
    assert peer.ended_by() == CALM
    house.check_idle()


def test_half_of_many_calls_may_be_taken_back() -> None:
    """Deadlines of clients do that; more than half is no client."""
    house = House(free_nuisances=2)
    peer = Peer(house)

    def take_back() -> int | None:
        stream = peer.call(b"y")
        peer.h2.reset_stream(stream)
        peer.turn()
        return peer.ended_by()

    for _ in range(16):
        peer.ask(b"x")
    assert [take_back() for _ in range(14)] == [None] * 13 + [CALM]


def test_statuses_are_not_sent_to_who_is_gone() -> None:
    """Nor do answers reach a connection that closes."""
    untaken: list[bytes] = []
    gate = Gate()
    house = House(gate, gone=untaken.append)
    peer = Peer(house)
    peer.call(b"x", (b"grpc-timeout", b"10m"))
    peer.call(b"y")
    peer.turn()
    peer.wire.stuck = True
    peer.connection.close()
    gate.open(b"y")
    house.loop.advance(0.01)
    peer.wire.stuck = False
    peer.turn()
    assert (peer.answers, peer.ended_by(), untaken) == ({}, NO_ERROR, [b"y"])
    assert house.calls.ended == {"CANCELLED": 1, Code.DEADLINE_EXCEEDED.name: 1}
    assert (peer.wire.lost, len(house.roll)) == (True, 0)
    house.check_idle()


@pytest.mark.parametrize("end", ["close", "lose"])
def test_nothing_begins_after_the_end(end: str) -> None:
    """A transport that encrypts may still give what it had read."""
    gate = Gate()
    house = House(gate)
    peer = Peer(house)
    peer.call(b"x")
    sent = peer.h2.data_to_send()
    if end == "close":
        peer.connection.close()
    else:
        peer.connection.connection_lost(None)
    peer.connection.data_received(sent)
    house.loop.settle()
    assert (gate.waiting, peer.connection.busy) == ({}, False)
