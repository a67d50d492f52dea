"""Frame by frame: what RFC 9113 allows is taken, or passed over where it says nothing to us."""

from __future__ import annotations

import pytest
from h2 import events
from h2.settings import SettingCodes

from tests.unit.tollkeeper.direct_peer import (
    PREFACE,
    REQUEST,
    House,
    Peer,
    frame,
    framed,
    kinds,
)

DATA, HEADERS, PRIORITY, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 2, 4, 6, 7, 9
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 1, 4, 8, 32
ACK = 1
ENHANCE_YOUR_CALM = 11
CALL = framed(b"hi")


def setting(key: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, key.to_bytes(2) + value.to_bytes(4))


def test_half_a_greeting_is_waited_for() -> None:
    """Nothing is said, and nothing is broken off."""
    house = House()
    connection, wire = house.connect()
    wire.take()
    connection.data_received(PREFACE + frame(SETTINGS, 0, 0)[:8])
    assert (wire.take(), wire.is_closing()) == (b"", False)
    connection.data_received(frame(SETTINGS, 0, 0)[8:])
    assert wire.take() == frame(SETTINGS, ACK, 0)


AROUND = [
    (0, b"", b""),
    (PADDED, b"\0", b""),
    (PADDED, b"\3", b"pad"),
    (WITH_PRIORITY, b"\0\0\0\7\x10", b""),
    (PADDED | WITH_PRIORITY, b"\3\0\0\0\7\x10", b"pad"),
]


@pytest.mark.parametrize("cuts", [[], [0], [10], list(range(10, 20))])
@pytest.mark.parametrize(("flags", "before", "after"), AROUND)
def test_headers_may_come_in_pieces_with_padding_and_priority(
    cuts: list[int], flags: int, before: bytes, after: bytes
) -> None:
    """As one block, with what stands around it taken off."""
    peer = Peer(House())
    block = peer.h2.encoder.encode(REQUEST)
    pieces = [block[a:b] for a, b in zip([0, *cuts], [*cuts, len(block)], strict=True)]
    pieces[0] = before + pieces[0] + after
    frames = [frame(CONTINUATION, 0, 1, piece) for piece in pieces]
    frames[0] = frame(HEADERS, flags, 1, pieces[0])
    last = frames[-1]
    frames[-1] = last[:4] + bytes([last[4] | END_HEADERS]) + last[5:]
    body = framed(b"hello")
    data = frame(DATA, PADDED | WITH_PRIORITY, 1, b"\4" + body[:3] + bytes(4))
    ends = frame(DATA, PADDED | END_STREAM, 1, b"\0" + body[3:])
    peer.connection.data_received(b"".join((*frames, data, ends)))
    peer.house.loop.settle()
    assert framed(b"hello") in peer.wire.take()


def test_what_says_nothing_to_us_is_passed_over() -> None:
    """Kinds and settings that are not known, priorities, farewells, acknowledgements."""
    peer = Peer(House())
    peer.raw(
        frame(0x77, 0xFF, 9, b"unknown"),
        setting(0x77, 1),
        setting(SettingCodes.MAX_FRAME_SIZE, (1 << 24) - 1),
        setting(SettingCodes.MAX_FRAME_SIZE, 1 << 14),
        setting(SettingCodes.ENABLE_PUSH, 1),
        setting(SettingCodes.ENABLE_PUSH, 0),
        frame(SETTINGS, ACK, 0),
        frame(PRIORITY, 0, 11, b"\0\0\0\3\0"),
        frame(PING, ACK, 0, bytes(8)),
        frame(GOAWAY, 0, 0, bytes(8)),
        frame(GOAWAY, 0, 0, bytes(8) + b"bye"),
        frame(0x77, 0, 0x80000000, b""),
    )
    assert kinds(peer.seen).count(events.PingAckReceived) == 0
    peer.check_alive()


def test_acknowledgements_are_not_acknowledged() -> None:
    """Neither of settings nor of pings."""
    peer = Peer(House())
    peer.connection.data_received(frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, bytes(8)))
    assert peer.wire.take() == b""


def test_headers_in_pieces_may_be_long() -> None:
    """Up to twice of what they may be when they are unpacked, and no longer."""
    peer = Peer(House())
    piece = bytes(16_384)
    peer.connection.data_received(frame(HEADERS, 0, 1, piece) + frame(CONTINUATION, 0, 1, piece))
    assert peer.wire.take() == b""
    peer.raw(frame(CONTINUATION, 0, 1, b"\0"))
    assert peer.ended_by() == ENHANCE_YOUR_CALM


def test_pings_come_back() -> None:
    """With the same eight bytes."""
    peer = Peer(House())
    peer.h2.ping(b"8 bytes!")
    peer.turn()
    (back,) = [event for event in peer.seen if isinstance(event, events.PingAckReceived)]
    assert back.ping_data == b"8 bytes!"


def test_trailers_end_a_call() -> None:
    """What they say is passed over, and known to the table of headers."""
    peer = Peer(House())
    stream = peer.begin()
    peer.h2.send_data(stream, CALL)
    peer.h2.send_headers(stream, [(b"grpc-timeout", b"1S")], end_stream=True)
    peer.turn()
    assert peer.answers[stream].message == b"hi"
    assert peer.ask(b"next", (b"grpc-timeout", b"1S")).message == b"next"
