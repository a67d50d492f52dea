"""What RFC 9113 forbids ends the stream or the connection, with the code that it names."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes

from tests.unit.tollkeeper.direct_peer import (
    PREFACE,
    Gate,
    House,
    Peer,
    frame,
    framed,
)

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32
ACK = 1
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
CALL = framed(b"hi")
OPEN, DONE, IDLE = 1, 3, 5
"""Streams of :func:`started`: its call is complete and not answered, was answered, never was."""


def started() -> tuple[House, Peer]:
    house = House(gate := Gate())
    peer = Peer(house)
    peer.call(b"open")
    peer.call(b"done")
    peer.turn()
    gate.open(b"done")
    peer.turn()
    return house, peer


def setting(key: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, key.to_bytes(2) + value.to_bytes(4))


ENDING = [
    (setting(SettingCodes.ENABLE_PUSH, 2), PROTOCOL_ERROR),
    (setting(SettingCodes.INITIAL_WINDOW_SIZE, 1 << 31), FLOW_CONTROL_ERROR),
    (setting(SettingCodes.MAX_FRAME_SIZE, (1 << 14) - 1), PROTOCOL_ERROR),
    (setting(SettingCodes.MAX_FRAME_SIZE, 1 << 24), PROTOCOL_ERROR),
    (frame(SETTINGS, 0, 0, b"five!"), FRAME_SIZE_ERROR),
    (frame(SETTINGS, ACK, 0, b"sixsix"), FRAME_SIZE_ERROR),
    (frame(SETTINGS, 0, OPEN), PROTOCOL_ERROR),
    (frame(PING, 0, 0, b"seven!!"), FRAME_SIZE_ERROR),
    (frame(PING, 0, OPEN, b"12345678"), PROTOCOL_ERROR),
    (frame(RESET, 0, OPEN, b"\0\0\0"), FRAME_SIZE_ERROR),
    (frame(RESET, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
    (frame(RESET, 0, 2, b"\0\0\0\0"), PROTOCOL_ERROR),
    (frame(RESET, 0, IDLE, b"\0\0\0\0"), PROTOCOL_ERROR),
    (frame(WINDOW, 0, 0, b"\0\0\0\0\1"), FRAME_SIZE_ERROR),
    (frame(WINDOW, 0, 2, b"\0\0\0\1"), PROTOCOL_ERROR),
    (frame(WINDOW, 0, IDLE, b"\0\0\0\1"), PROTOCOL_ERROR),
    (frame(PRIORITY, 0, 0, b"\0\0\0\1\0"), PROTOCOL_ERROR),
    (frame(PRIORITY, 0, IDLE, b"\0\0\0\1"), FRAME_SIZE_ERROR),
    (frame(PRIORITY, 0, 2, b"\0\0\0\1"), FRAME_SIZE_ERROR),
    (frame(PRIORITY, 0, IDLE, b"\x80\0\0\5\0"), PROTOCOL_ERROR),
    (frame(PUSH, END_HEADERS, OPEN, b"\0\0\0\2"), PROTOCOL_ERROR),
    (frame(GOAWAY, 0, OPEN, bytes(8)), PROTOCOL_ERROR),
    (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    (frame(DATA, 0, 0, CALL), PROTOCOL_ERROR),
    (frame(DATA, 0, 2, CALL), PROTOCOL_ERROR),
    (frame(DATA, 0, IDLE, CALL), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS, 0), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS, 6), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS, OPEN), STREAM_CLOSED),
    (frame(HEADERS, END_HEADERS, DONE), STREAM_CLOSED),
    (frame(HEADERS, END_HEADERS | PADDED, IDLE), FRAME_SIZE_ERROR),
    (frame(HEADERS, END_HEADERS | PADDED, IDLE, b"\2\x82"), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS | WITH_PRIORITY, IDLE, b"\0\0\0\5"), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS | WITH_PRIORITY, IDLE, b"\x80\0\0\5\0"), PROTOCOL_ERROR),
    (frame(CONTINUATION, END_HEADERS, OPEN), PROTOCOL_ERROR),
    (frame(HEADERS, 0, IDLE) + frame(CONTINUATION, END_HEADERS, 7), PROTOCOL_ERROR),
    (frame(HEADERS, 0, IDLE) + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
    (frame(HEADERS, 0, IDLE) + frame(0x77, 0, IDLE), PROTOCOL_ERROR),
    (frame(HEADERS, 0, IDLE) + frame(HEADERS, END_HEADERS, IDLE), PROTOCOL_ERROR),
    (frame(0x77, 0, 0, bytes(16_385)), FRAME_SIZE_ERROR),
    (b"\xff\xff\xff\0\0\0\0\0\1", FRAME_SIZE_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), ENDING, ids=range(len(ENDING)))
def test_what_breaks_the_protocol_ends_the_connection(sent: bytes, code: int) -> None:
    """With the code that the RFC names, and with all that was in hand."""
    house, peer = started()
    peer.raw(sent)
    assert peer.ended_by() == code
    (gate_of,) = house.calls.methods.values()
    assert gate_of.call.cancelled == [b"open"]  # type: ignore[attr-defined]
    house.check_idle()
    assert (peer.wire.lost, len(house.roll)) == (True, 0)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(PRIORITY, 0, OPEN, b"\0\0\0\3"), FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, OPEN, b"\0\0\0\1\0"), PROTOCOL_ERROR),
        (frame(DATA, 0, OPEN, b"more"), STREAM_CLOSED),
        (frame(DATA, END_STREAM, OPEN), STREAM_CLOSED),
    ],
)
def test_what_breaks_one_stream_ends_that_alone(sent: bytes, code: int) -> None:
    """It is cancelled; what comes of it afterwards is a fault each time, until its bytes."""
    house, peer = started()
    peer.raw(sent)
    assert (peer.answers[OPEN].reset, peer.ended_by()) == (code, None)
    assert house.calls.ended == {"OK": 1, "CANCELLED": 1}
    assert house.calls.in_flight == 0
    house.check_idle()


def test_the_newest_stream_may_be_broken_as_well() -> None:
    """It was begun: it can be reset."""
    peer = Peer(House())
    peer.begin()
    peer.raw(frame(PRIORITY, 0, 1, b"\0\0\0\3"))
    assert (peer.answers[1].reset, peer.ended_by()) == (FRAME_SIZE_ERROR, None)


def test_data_of_an_answered_stream_is_refused() -> None:
    """It had said that it was complete; its bytes are free again."""
    _house, peer = started()
    peer.connection.data_received(frame(DATA, 0, DONE, b"more"))
    assert peer.wire.take() == frame(RESET, 0, DONE, STREAM_CLOSED.to_bytes(4))
    peer.connection.data_received(
        frame(DATA, 0, DONE, b"more") + frame(WINDOW, 0, DONE, b"\0\0\0\1")
    )
    assert peer.wire.take() == b""
    room = peer.connection._room
    assert room.left_bytes + room._freed_bytes == room.size_bytes


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\3\1\2\0\1\0\1\xfc\3\3",
        PREFACE + frame(PING, 0, 0, bytes(8)),
        PREFACE[:-1] + b"\r",
    ],
)
def test_what_is_no_greeting_ends_the_connection(sent: bytes) -> None:
    """HTTP/1, TLS, frames before settings; as soon as it is known."""
    house = House()
    connection, wire = house.connect()
    wire.take()
    connection.data_received(sent)
    assert wire.take() == frame(GOAWAY, 0, 0, bytes(4) + PROTOCOL_ERROR.to_bytes(4))
    assert wire.half_closed
    house.check_idle()


@pytest.mark.parametrize(
    ("payload", "code"), [(b"", FRAME_SIZE_ERROR), (b"\5four", PROTOCOL_ERROR)]
)
def test_padding_that_cannot_be_is_refused(payload: bytes, code: int) -> None:
    """Without a length, and longer than its frame."""
    peer = Peer(House())
    peer.begin()
    peer.raw(frame(DATA, PADDED, 1, payload))
    assert peer.ended_by() == code


@pytest.mark.parametrize(
    ("trailer", "flags"), [(b":path", END_STREAM), (b"after", 0), (b":path", 0)]
)
def test_broken_trailers_end_their_stream(trailer: bytes, flags: int) -> None:
    """With pseudo-headers, or without the end; the table of headers goes on."""
    peer = Peer(House())
    stream = peer.begin()
    block = peer.h2.encoder.encode([(trailer, b"x")])
    peer.raw(frame(HEADERS, END_HEADERS | flags, stream, block), frame(DATA, 0, stream, CALL))
    assert peer.answers[stream].reset == PROTOCOL_ERROR
    peer.raw(frame(HEADERS, END_HEADERS | flags, stream, peer.h2.encoder.encode([(b"a", b"b")])))
    peer.check_alive()
