"""What clients may send, and what is kept of it: no more than was allowed, and all of it is allowed
again when it was taken (RFC 9113, section 5.2)."""

from __future__ import annotations

import random

import pytest

from tests.unit.tollkeeper.direct_peer import REQUEST, House, Peer, frame, framed
from tollkeeper.direct.endings import MAX_REMEMBERED, EarlyEnds
from tollkeeper.unary.status import Code

DATA, FLOW_CONTROL_ERROR = 0, 3
FIRST = 65_535
ELSEWHERE = [*REQUEST[:2], (b":path", b"/else/Where"), *REQUEST[3:]]


def test_the_peer_is_told_what_it_may_send() -> None:
    """At once, before it has said a word."""
    house = House(max_streams=77, max_bytes=1_000, receive_bytes=99_999)
    settings = Peer(house).h2.remote_settings
    assert settings.max_concurrent_streams == 77
    assert settings.initial_window_size == 1_000 + 4 * 16_384
    assert settings.max_header_list_size == 16_384
    assert settings.max_frame_size == 16_384
    _, wire = house.connect()
    assert wire.take().endswith(frame(8, 0, 0, (99_999 - FIRST).to_bytes(4)))


def check_room(peer: Peer, *, size_bytes: int, unknown_bytes: int = 0) -> None:
    """Our window is the first one again, in our books and in those of the client, who was not told
    of the last quarter, and h2 not of the bytes that we sent without it."""
    room = peer.connection._room
    assert room.left_bytes + room._freed_bytes == room.size_bytes == size_bytes
    assert peer.h2.outbound_flow_control_window == room.left_bytes + unknown_bytes
    assert 0 <= room._freed_bytes <= size_bytes // 4


@pytest.mark.parametrize("receive_bytes", [1, FIRST, FIRST + 1, 200_000])
def test_what_came_may_come_again(receive_bytes: int) -> None:
    """Over long runs with answers, refusals, padding and calls taken back our window neither leaks
    nor grows."""
    house = House(receive_bytes=receive_bytes)
    peer = Peer(house)
    assert peer.h2.outbound_flow_control_window == max(receive_bytes, FIRST)
    for size in range(100, 12_000, 1_100):
        peer.call(b"x" * size)
        taken_back = peer.begin()
        peer.h2.send_data(taken_back, framed(b"y" * size)[:-1], pad_length=size % 256)
        peer.h2.reset_stream(taken_back)
        wrong = peer.begin((b"content-length", b"1"))
        peer.h2.send_data(wrong, framed(b"z" * size), end_stream=True, pad_length=5)
        nowhere = peer.begin(headers=ELSEWHERE)
        peer.h2.send_data(nowhere, b"z" * size, end_stream=True)
        peer.turn()
    check_room(peer, size_bytes=max(receive_bytes, FIRST))
    house.check_idle()


def test_too_long_a_message_is_refused_before_it_comes() -> None:
    """By the length that it declares, in however many pieces; what still comes is passed over, and
    counted."""
    house = House(max_bytes=100, receive_bytes=FIRST)
    peer = Peer(house)
    for pieces in ([b"\0\0\0\0\x65"], [b"", b"\0", b"\0\0", b"", b"\0\x65"]):
        stream = peer.begin()
        for piece in pieces:
            assert stream not in peer.answers
            peer.h2.send_data(stream, piece)
            peer.turn()
        answer = peer.answers[stream]
        assert (answer.status, answer.ended, answer.reset) == (Code.RESOURCE_EXHAUSTED, True, 0)
        assert answer.headers[b"grpc-message"] == b"the message has 101 bytes; at most 100"
        peer.connection.data_received(frame(DATA, 0, stream, b"x" * 900) + frame(DATA, 1, stream))
        assert peer.wire.take() == b""
        peer.raw(*[frame(DATA, 0, stream, b"x" * 9_000)] * 3)
    check_room(peer, size_bytes=FIRST, unknown_bytes=55_800)
    peer.check_alive()
    house.check_idle()


def test_a_longer_body_than_it_declares_is_refused_as_well() -> None:
    """As soon as it is longer than any message may be."""
    peer = Peer(House(max_bytes=100))
    stream = peer.begin()
    peer.h2.send_data(stream, framed(b"short") + b"x" * 95)
    peer.turn()
    assert stream not in peer.answers
    peer.h2.send_data(stream, b"x")
    peer.turn()
    assert peer.answers[stream].status == Code.RESOURCE_EXHAUSTED


def test_more_than_was_allowed_is_refused() -> None:
    """On one stream by padding alone, on the connection by what does not end."""
    house = House(receive_bytes=300_000, max_bytes=100)
    peer = Peer(house)
    padding = frame(DATA, 8, 1, bytes([255]) + b"\0" * 255)
    peer.begin()
    peer.raw(*[padding] * 256, frame(DATA, 8, 1, bytes([99]) + bytes(99)))
    assert peer.answers == {}
    peer.raw(frame(DATA, 8, 1, b"\0"))
    assert peer.answers[1].reset == FLOW_CONTROL_ERROR
    house = House(receive_bytes=FIRST)
    peer = Peer(house)
    peer.begin()
    peer.raw(*[frame(DATA, 0, 1, b"\0\0\x0f\xff\xff" * 3_000)] * 4)
    peer.raw(frame(DATA, 0, 1, b"x" * 5_535))
    assert peer.ended_by() is None
    peer.raw(frame(DATA, 0, 1, b"x"))
    assert peer.ended_by() == FLOW_CONTROL_ERROR


def test_small_pieces_take_no_more_room_than_large_ones() -> None:
    """A body in thousands of frames, many of them empty, is kept as what it is."""
    house = House()
    peer = Peer(house)
    stream = peer.begin()
    body = framed(random.Random(1).randbytes(3_000))
    peer.raw(
        *[
            frame(DATA, 0, stream, body[at : at + 2]) + frame(DATA, 0, stream)
            for at in range(0, 3_000, 2)
        ]
    )
    (held,) = peer.connection._streams.values()
    assert (type(held.body), held.body) == (bytearray, body[:3_000])
    peer.raw(frame(DATA, 1, stream, body[3_000:]))
    assert peer.answers[stream].message == body[5:]


def test_early_ends_are_remembered_up_to_a_bound() -> None:
    """The newest; of the others what still comes is refused once more."""
    ends = EarlyEnds()
    for number in range(1, 2 * MAX_REMEMBERED + 5, 2):
        ends.add(number)
    assert [number in ends for number in (1, 3, 5, 2 * MAX_REMEMBERED + 3)] == [
        False,
        False,
        True,
        True,
    ]
