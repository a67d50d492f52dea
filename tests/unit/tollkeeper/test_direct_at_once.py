"""Calls that wait for nothing, and what is written in one turn of the event loop."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.unit.tollkeeper.direct_peer import Gate, House, Peer, Wire, frame
from tollkeeper.direct.gathering import Gathering
from tollkeeper.unary.method import Rest
from tollkeeper.unary.status import CallFailed, Code

RESET = 3
CANCEL = b"\0\0\0\x08"


async def never(message: bytes) -> bytes:
    raise AssertionError(f"{message!r} was to be begun")


def house_of(gate: Gate, begun: list[bytes]) -> House:
    """Messages that say so wait at the gate, once their task runs; all others are answered."""

    async def rest(message: bytes) -> bytes:
        begun.append(message)
        return await gate(message)

    def begin(message: bytes) -> bytes | Rest:
        return partial(rest, message) if message.startswith(b"wait") else message

    return House(never, begin=begin)


def test_an_answer_that_is_there_needs_no_task() -> None:
    """It is given before anything else of the event loop has run."""
    house = house_of(Gate(), [])
    peer = Peer(house)
    stream = peer.call(b"now")
    peer.connection.data_received(peer.h2.data_to_send())
    assert asyncio.all_tasks(house.loop) == set()
    assert not peer.connection.busy
    peer.turn()
    assert peer.answers[stream].message == b"now"
    assert house.calls.ended == {"OK": 1}
    house.check_idle()


def test_what_has_to_wait_is_waited_for() -> None:
    """Its task goes on where the beginning left off, and others pass it meanwhile."""
    gate = Gate()
    house = house_of(gate, [])
    peer = Peer(house)
    late = peer.call(b"wait")
    assert peer.ask(b"now").message == b"now"
    assert (late in peer.answers, house.calls.in_flight) == (False, 1)
    gate.open(b"wait", b"at last")
    peer.turn()
    assert peer.answers[late].message == b"at last"
    house.check_idle()


def test_who_leaves_before_its_task_has_run_is_never_begun() -> None:
    """Nothing of the rest was done, and nothing is left of it."""
    begun: list[bytes] = []
    house = house_of(Gate(), begun)
    peer = Peer(house)
    stream = peer.call(b"wait")
    peer.raw(frame(RESET, 0, stream, CANCEL))
    assert (begun, peer.connection.busy) == ([], False)
    house.check_idle()


def test_a_deadline_ends_what_waits() -> None:
    """As for any call."""
    gate = Gate()
    house = house_of(gate, [])
    peer = Peer(house)
    stream = peer.call(b"wait", (b"grpc-timeout", b"70m"))
    peer.turn()
    house.loop.advance(0.06)
    house.loop.advance(0.02)
    peer.turn()
    assert peer.answers[stream].status == Code.DEADLINE_EXCEEDED
    assert gate.cancelled == [b"wait"]
    house.check_idle()


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (CallFailed(Code.INVALID_ARGUMENT, "no"), Code.INVALID_ARGUMENT),
        (ValueError("known"), Code.NOT_FOUND),
        (KeyError("ours"), Code.UNAVAILABLE),
    ],
)
def test_a_beginning_that_fails_is_answered_with_its_status(
    raised: Exception, status: Code
) -> None:
    """What a method raises before anything is waited for has the same status as later."""

    def begin(_message: bytes) -> bytes | Rest:
        raise raised

    def fault(error: Exception) -> CallFailed | None:
        return CallFailed(Code.NOT_FOUND, "known") if isinstance(error, ValueError) else None

    house = House(never, begin=begin, fault=fault)
    peer = Peer(house)
    assert peer.ask(b"x").status == status
    assert house.calls.ended == {status.name: 1}
    house.check_idle()


def test_answers_of_one_turn_are_one_write() -> None:
    """Ten calls that come in one piece are answered in one, in their order."""
    house = house_of(Gate(), [])
    peer = Peer(house)
    before = peer.wire.writes
    streams = [peer.call(b"%d" % number) for number in range(10)]
    peer.turn()
    assert peer.wire.writes == before + 1
    assert list(peer.answers) == streams
    assert [peer.answers[stream].message for stream in streams] == [b"%d" % n for n in range(10)]


def gathering() -> tuple[Gathering, Wire, House]:
    """A transport that gathers, and the one behind it."""
    house = House()
    connection, _ = house.connect()
    wire = Wire(house.loop, connection, can_half_close=True)
    return Gathering(wire, house.loop), wire, house


def test_closing_sends_what_was_written_before() -> None:
    """Also when one direction alone is closed."""
    transport, wire, _ = gathering()
    transport.write(b"a")
    transport.write_eof()
    assert (wire.writes, wire.half_closed) == (1, True)
    transport, wire, _ = gathering()
    transport.write(b"a")
    transport.write(b"b")
    transport.close()
    assert (wire.writes, wire.is_closing(), wire.take()) == (1, True, b"ab")


def test_aborting_sends_nothing_more() -> None:
    """Neither what was written before nor what is written after."""
    transport, wire, house = gathering()
    transport.write(b"a")
    transport.abort()
    transport.write(b"b")
    house.loop.settle()
    assert (wire.writes, wire.lost, transport.is_closing()) == (0, True, True)
