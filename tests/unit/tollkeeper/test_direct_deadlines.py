"""Deadlines, and who is first when a call ends in two ways at once."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tollkeeper.direct_peer import Gate, House, Peer, TurnedLoop, frame, framed
from tollkeeper.unary.status import Code

RESET = 3
CANCEL = (8).to_bytes(4)
CENTURIES = (b"grpc-timeout", b"99999999H")


def timeout(of_ms: int) -> tuple[bytes, bytes]:
    return b"grpc-timeout", b"%dm" % of_ms


def one_turn(loop: TurnedLoop) -> None:
    """What is ready now runs, and nothing that comes of it."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_quick_calls_set_no_timer() -> None:
    """One for all of them, and that not for long."""
    house = House()
    peer = Peer(house)
    for number in range(50):
        peer.ask(b"%d" % number, CENTURIES)
    assert house.loop.timers == 1
    house.loop.advance(0.06)
    assert house.loop.timers == 0
    assert house.calls.ended == {"OK": 50}


CALLS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 80), st.integers(0, 60) | st.integers(60, 300)),
    min_size=1,
    max_size=8,
)


@given(CALLS)
def test_slow_calls_end_in_time(calls: list[tuple[int, int, int]]) -> None:
    """To the millisecond after their headers, whatever stands in the line before them, and however
    late their bodies come."""
    gate = Gate()
    house = House(gate)
    peer = Peer(house)
    bodies: dict[int, tuple[int, int]] = {}
    ends: dict[int, int] = {}
    at_ms = 0
    for wait_ms, body_ms, timeout_ms in calls:
        at_ms += wait_ms
        bodies[2 * len(bodies) + 1] = (at_ms, at_ms + body_ms)
        ends[2 * len(ends) + 1] = max(at_ms + timeout_ms, at_ms + body_ms)
    for now_ms in range(max(ends.values()) + 1):
        house.loop.now_s = 100.0 + now_ms * 0.001
        for stream, (begin_ms, complete_ms) in bodies.items():
            if now_ms == begin_ms:
                assert peer.begin(timeout(calls[stream // 2][2])) == stream
            if now_ms == complete_ms:
                peer.h2.send_data(stream, framed(b"%d" % stream), end_stream=True)
        peer.turn()
        over = {stream for stream, answer in peer.answers.items() if answer.ended}
        assert over == {stream for stream, end_ms in ends.items() if end_ms <= now_ms}
    assert {answer.status for answer in peer.answers.values()} == {Code.DEADLINE_EXCEEDED}
    assert len(gate.cancelled) == len(calls)
    assert house.calls.ended == {"DEADLINE_EXCEEDED": len(calls)}
    house.check_idle()


@pytest.mark.parametrize("wait_ms", [0, 49, 50, 51, 99])
@pytest.mark.parametrize("timeout_ms", [20, 100, 10_000])
def test_an_answer_before_the_deadline_is_sent(wait_ms: int, timeout_ms: int) -> None:
    """Its timer goes with it."""
    gate = Gate()
    house = House(gate)
    peer = Peer(house)
    stream = peer.call(b"x", timeout(timeout_ms))
    peer.turn()
    assert house.loop.timers == 1
    house.loop.advance(min(wait_ms, timeout_ms - 1) / 1_000)
    gate.open(b"x")
    peer.turn()
    assert peer.answers[stream].message == b"x"
    house.loop.advance(0.06)
    assert house.loop.timers == 0


def test_each_call_has_its_time_without_a_timer() -> None:
    """Also when one before it was slower."""
    house = House(Gate())
    peer = Peer(house)
    slow = peer.call(b"slow", CENTURIES)
    peer.turn()
    house.loop.advance(0.04)
    quick = peer.call(b"quick", CENTURIES)
    peer.turn()
    timed = []
    for _ in range(2):
        house.loop.advance(0.01)
        timed.append([peer.connection._streams[n].timer is not None for n in (slow, quick)])
    house.loop.advance(0.03)
    timed.append([peer.connection._streams[n].timer is not None for n in (slow, quick)])
    assert timed == [[True, False], [True, False], [True, True]]


def test_a_call_ended_before_its_first_step_keeps_nothing() -> None:
    """Headers, message and reset in one read: neither a timer to its deadline nor a task."""
    house = House()
    peer = Peer(house)
    for _ in range(10):
        stream = peer.call(b"never", CENTURIES)
        peer.h2.reset_stream(stream)
    peer.turn()
    house.loop.advance(0.1)
    assert (house.loop.timers, asyncio.all_tasks(house.loop)) == (0, set())
    assert (house.calls.in_flight, peer.answers, house.calls.ended) == (0, {}, {})
    peer.check_alive()


def test_a_call_taken_back_keeps_no_timer() -> None:
    """Also one that has its own."""
    house = House(Gate())
    peer = Peer(house)
    stream = peer.call(b"x", CENTURIES)
    peer.turn()
    house.loop.advance(0.1)
    assert house.loop.timers == 1
    peer.h2.reset_stream(stream)
    peer.turn()
    assert house.loop.timers == 0


def waiting_call() -> tuple[House, Gate, Peer]:
    """A call whose deadline is due as soon as the loop turns."""
    gate = Gate()
    house = House(gate)
    peer = Peer(house)
    peer.call(b"x", timeout(10))
    peer.turn()
    house.loop.now_s += 0.01
    return house, gate, peer


def test_a_reset_before_the_deadline_is_due_wins() -> None:
    """Nothing is sent, and it is counted once."""
    house, gate, peer = waiting_call()
    peer.connection.data_received(frame(RESET, 0, 1, CANCEL))
    peer.turn()
    assert (gate.cancelled, peer.answers, house.calls.ended) == ([b"x"], {}, {"CANCELLED": 1})
    house.check_idle()


def test_a_reset_after_the_deadline_was_due_comes_too_late() -> None:
    """It is counted as what it was, and nothing is sent to who does not want it."""
    house, gate, peer = waiting_call()
    one_turn(house.loop)
    peer.connection.data_received(frame(RESET, 0, 1, CANCEL))
    peer.turn()
    assert (gate.cancelled, peer.answers) == ([b"x"], {})
    assert house.calls.ended == {"DEADLINE_EXCEEDED": 1}
    house.check_idle()


def test_an_answer_made_when_the_deadline_is_due_is_sent() -> None:
    """It was ready before the timer was looked at."""
    house, gate, peer = waiting_call()
    gate.open(b"x")
    peer.turn()
    assert peer.answers[1].message == b"x"
    assert house.calls.ended == {"OK": 1}
    house.check_idle()


def test_a_reset_finds_an_answer_that_is_not_yet_taken() -> None:
    """The method is cancelled although its answer is there; it is counted once."""
    house, gate, peer = waiting_call()
    gate.open(b"x")
    peer.connection.data_received(frame(RESET, 0, 1, CANCEL))
    peer.turn()
    assert (gate.cancelled, peer.answers, house.calls.ended) == ([b"x"], {}, {"CANCELLED": 1})
    house.check_idle()


def test_a_reset_after_the_answer_changes_nothing() -> None:
    """The call was over."""
    house = House()
    peer = Peer(house)
    assert peer.ask(b"x").ended
    peer.raw(frame(RESET, 0, 1, CANCEL))
    peer.check_alive()
    assert house.calls.ended == {"OK": 2}
    house.check_idle()


async def _slow_to_leave(_message: bytes) -> bytes:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(1.0)
    raise AssertionError


def test_a_method_that_is_slow_to_leave_is_waited_for() -> None:
    """It is in flight until it is over; its client is told then, and another reset is no news."""
    house = House(_slow_to_leave)
    peer = Peer(house)
    one, other = peer.call(b"", timeout(10)), peer.call(b"", timeout(10))
    peer.turn()
    house.loop.advance(0.01)
    peer.h2.reset_stream(other)
    peer.turn()
    assert (house.calls.in_flight, peer.answers) == (2, {})
    house.loop.advance(1.0)
    peer.turn()
    assert peer.answers[one].status == Code.DEADLINE_EXCEEDED
    assert (list(peer.answers), house.calls.ended) == ([one], {"DEADLINE_EXCEEDED": 2})
    house.check_idle()


def test_the_end_of_the_process_is_nobodys_deadline() -> None:
    """A cancellation that is not ours rises, and no status is made of it."""
    house = House(Gate())
    peer = Peer(house)
    peer.call(b"x", timeout(1_000))
    peer.turn()
    (task,) = asyncio.all_tasks(house.loop)
    task.cancel()
    peer.turn()
    assert task.cancelled()
    assert (house.calls.in_flight, peer.answers, house.calls.ended) == (0, {}, {})
    house.check_idle()
