"""Flow control in both directions (RFC 9113, section 5.2): nothing is lost, nothing goes beyond
what the other side allows, and who is stuck holds up nobody."""

from __future__ import annotations

import random
from typing import Any

from h2 import events
from h2.settings import SettingCodes
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tollkeeper.direct_peer import PREFACE, REQUEST, House, Peer, frame, framed

WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 1, 3
MOST = (1 << 31) - 1
FIRST = 65_535
ELSEWHERE = [*REQUEST[:2], (b":path", b"/else/Where"), *REQUEST[3:]]


async def large(message: bytes) -> bytes:
    """As many bytes as were asked for, different for each number."""
    return random.Random(message).randbytes(int(message))


def expected(size: int) -> bytes:
    return random.Random(b"%d" % size).randbytes(size)


SIZES = st.one_of(st.integers(0, 100), st.integers(16_000, 17_000), st.integers(0, 100_000))
GROWTH = st.one_of(st.integers(1, 20), st.integers(1, 40_000))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("connection"), GROWTH),
        st.tuples(st.integers(0, 5), GROWTH),
        st.tuples(st.just("settings"), st.one_of(st.integers(0, 20), st.integers(0, 70_000))),
    ),
    max_size=30,
)


@given(st.integers(0, 70_000), st.lists(SIZES, min_size=1, max_size=6), STEPS)
def test_every_answer_arrives_whole_through_any_windows(
    first: int, sizes: list[int], steps: list[tuple[Any, int]]
) -> None:
    """Of the connection, of streams, changed in the middle, also below nothing: h2 finds every byte
    too many, and in the end all is there."""
    house = House(large)
    peer = Peer(house, {WINDOW: first}, takes=False)
    streams = [peer.call(b"%d" % size) for size in sizes]
    peer.turn()
    for what, by in steps:
        if what == "settings":
            peer.h2.update_settings({WINDOW: by})
        elif what == "connection":
            peer.h2.increment_flow_control_window(by)
        elif what < len(streams) and not peer.answers[streams[what]].ended:
            peer.h2.increment_flow_control_window(by, streams[what])
        peer.turn()
    peer.h2.update_settings({WINDOW: 1 << 20})
    peer.h2.increment_flow_control_window(1 << 20)
    peer.turn()
    for stream, size in zip(streams, sizes, strict=True):
        assert peer.answers[stream].message == expected(size)
    assert not peer.connection.busy
    house.check_idle()


def test_a_stuck_answer_holds_up_no_other() -> None:
    """Neither one that waits for its own window, nor one that waits for that of all."""
    peer = Peer(House(large), {WINDOW: 10}, takes=False)
    stuck = peer.call(b"100000")
    assert peer.ask(b"5").message == expected(5)
    peer.h2.increment_flow_control_window(200_000, stuck)
    peer.turn()
    after = peer.call(b"4")
    peer.turn()
    assert (peer.answers[stuck].ended, peer.answers[after].ended) == (False, False)
    peer.h2.increment_flow_control_window(FIRST)
    peer.turn()
    assert peer.answers[stuck].message == expected(100_000)
    assert peer.answers[after].message == expected(4)


def test_who_wait_for_the_same_window_take_turns() -> None:
    """A large answer does not take all that becomes free."""
    peer = Peer(House(large), {WINDOW: MOST}, takes=False)
    one, other = peer.call(b"80000"), peer.call(b"80001")
    peer.turn()
    for _ in range(10):
        peer.h2.increment_flow_control_window(1_000)
        peer.turn()
    assert len(peer.answers[one].body) == FIRST + 5_000
    assert len(peer.answers[other].body) == 5_000


def test_a_window_may_be_less_than_nothing() -> None:
    """Made so while its answer waits for that of all: not a byte until it is more again, and the
    window of all is not touched by it."""
    peer = Peer(House(large), {WINDOW: 50_000}, takes=False)
    below, other = peer.call(b"60000"), peer.call(b"60001")
    peer.turn()
    peer.h2.update_settings({WINDOW: 40_000})
    peer.turn()
    sent = [len(peer.answers[number].body) for number in (below, other)]
    assert sent == [50_000, FIRST - 50_000]
    peer.h2.update_settings({WINDOW: 10_000})
    peer.h2.increment_flow_control_window(20_000)
    peer.turn()
    assert [len(peer.answers[number].body) for number in (below, other)] == sent
    peer.h2.update_settings({WINDOW: 70_000})
    peer.turn()
    assert sum(len(peer.answers[number].body) for number in (below, other)) == FIRST + 20_000
    peer.h2.increment_flow_control_window(70_000)
    peer.turn()
    assert peer.answers[below].message == expected(60_000)
    assert peer.answers[other].message == expected(60_001)


def test_windows_of_a_single_byte_are_used() -> None:
    """By whichever of the three ways it was allowed."""
    peer = Peer(House(large), {WINDOW: 1}, takes=False)
    one, large_one = peer.call(b"20"), peer.call(b"70000")

    def got() -> int:
        peer.turn()
        return len(peer.answers[one].body)

    assert got() == 1
    peer.h2.update_settings({WINDOW: 2})
    assert got() == 2
    peer.h2.increment_flow_control_window(1, one)
    assert got() == 3
    peer.h2.increment_flow_control_window(100_000, large_one)
    peer.h2.increment_flow_control_window(2, one)
    assert got() == 3  # nothing is left of what all may send
    sizes = []
    for _ in range(4):
        peer.h2.increment_flow_control_window(1)
        sizes.append(got())
    assert sizes == [3, 4, 4, 5]


def test_who_sets_no_window_has_the_first_one() -> None:
    """Up to its last byte, for a stream and for all of them."""
    house = House(large)
    connection, wire = house.connect()
    encoder = Encoder()
    connection.data_received(PREFACE + frame(SETTINGS, 0, 0))
    wire.take()
    asked = frame(HEADERS, 4, 1, encoder.encode(REQUEST)) + frame(DATA, 1, 1, framed(b"65531"))
    connection.data_received(asked)
    house.loop.settle()
    assert wire.take().endswith(expected(65_531)[-100:-1])
    connection.data_received(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\5"))
    assert wire.take() == b""
    connection.data_received(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\5"))
    assert wire.take().startswith(frame(DATA, 0, 1, expected(65_531)[-1:]))


def test_a_larger_window_is_used_after_it_was_acknowledged() -> None:
    """Until then the client does not count with it."""
    peer = Peer(House(large), {WINDOW: 0}, takes=False)
    peer.call(b"10")
    peer.turn()
    peer.seen.clear()
    peer.h2.update_settings({WINDOW: 100})
    peer.turn()
    acknowledged, *data = [type(event) for event in peer.seen]
    assert acknowledged is events.SettingsAcknowledged
    assert events.DataReceived in data


def test_of_a_setting_said_twice_the_last_holds() -> None:
    """As if the first had never been said."""
    peer = Peer(House(large), {WINDOW: 0}, takes=False)
    peer.call(b"10")
    peer.turn()
    key = b"\0" + bytes([WINDOW])
    settings = frame(SETTINGS, 0, 0, key + (100).to_bytes(4) + key + (7).to_bytes(4))
    peer.connection.data_received(settings)
    assert peer.wire.take() == frame(SETTINGS, 1, 0) + frame(DATA, 0, 1, framed(expected(10))[:7])


def test_windows_beyond_the_largest_are_refused() -> None:
    """That of a stream on it, that of all with the connection."""
    house = House(large)
    peer = Peer(house, {WINDOW: 0}, takes=False)
    within, beyond = peer.call(b"10"), peer.begin()
    peer.h2.increment_flow_control_window(MOST, within)
    peer.raw(frame(WINDOW_UPDATE, 0, beyond, MOST.to_bytes(4)))
    assert (peer.answers[within].message, beyond in peer.answers) == (expected(10), False)
    peer.raw(frame(WINDOW_UPDATE, 0, beyond, b"\0\0\0\1"))
    assert peer.answers[beyond].reset == FLOW_CONTROL_ERROR
    peer.raw(frame(WINDOW_UPDATE, 0, 0, (MOST - FIRST + 15).to_bytes(4)))
    assert peer.ended_by() is None
    peer.raw(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))
    assert peer.ended_by() == FLOW_CONTROL_ERROR
    house.check_idle()


def test_windows_that_do_not_grow_are_refused() -> None:
    """In the same way."""
    peer = Peer(House(large), {WINDOW: 0}, takes=False)
    peer.call(b"10")
    peer.turn()
    peer.raw(frame(WINDOW_UPDATE, 0, 1, b"\x80\0\0\0"))
    assert (peer.answers[1].reset, peer.ended_by()) == (PROTOCOL_ERROR, None)
    peer.raw(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"))
    assert peer.ended_by() == PROTOCOL_ERROR


def test_answers_that_wait_are_given_back_when_nobody_takes_them() -> None:
    """Taken back by the client, given up by us, lost with the connection: whole each time."""
    untaken: list[bytes] = []
    house = House(large, gone=untaken.append, deliver_s=5.0)
    peer = Peer(house, {WINDOW: 8}, takes=False)
    back, late = peer.call(b"21"), peer.call(b"22")
    peer.turn()
    peer.h2.reset_stream(back)
    peer.turn()
    resets = []
    for wait_s in (5.0, 0.1):
        house.loop.advance(wait_s)
        if wait_s == 5.0:
            peer.call(b"23")
        peer.turn()
        peer.connection.look(house.loop.time())
        peer.turn()
        resets.append(peer.answers[late].reset)
    assert resets == [None, 8]
    peer.wire.abort()
    house.loop.settle()
    assert untaken == [expected(21), expected(22), expected(23)]
    house.check_idle()
