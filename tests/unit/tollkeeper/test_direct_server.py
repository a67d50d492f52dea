"""All connections of a server together: leaving, looking after them, and what is counted."""

from __future__ import annotations

import asyncio

from h2.settings import SettingCodes
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.unit.tollkeeper.direct_peer import Gate, House, Peer, frame, framed
from tollkeeper.direct.frames import ErrorCode
from tollkeeper.direct.metrics import DirectCollector
from tollkeeper.direct.roll import QUIET_S, Roll

DATA, GOAWAY, WINDOW_UPDATE = 0, 7, 8


def test_draining_answers_all_that_is_in_hand() -> None:
    """What is being answered, what waits for a window, and what has not come whole; peers are asked
    to go elsewhere first."""
    gate = Gate()
    house = House(gate)
    busy, stuck, slow = Peer(house), Peer(house, {SettingCodes.INITIAL_WINDOW_SIZE: 0}), Peer(house)
    busy.call(b"busy")
    stuck.call(b"stuck")
    slow.begin()
    for peer in (busy, stuck, slow):
        peer.turn()
    gate.open(b"stuck")
    draining = house.loop.create_task(house.server.drain())
    house.loop.settle()
    goodbye = frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4))
    assert all(goodbye in peer.wire.take() for peer in (busy, stuck, slow))

    def drained() -> bool:
        house.loop.advance(0.1)
        return draining.done()

    assert not drained()
    stuck.connection.data_received(frame(WINDOW_UPDATE, 0, 1, (100).to_bytes(4)))
    gate.open(b"busy")
    assert not drained()
    assert framed(b"busy") in busy.wire.take()
    slow.connection.data_received(frame(DATA, 1, 1, framed(b"slow")))
    assert not drained()
    gate.open(b"slow")
    assert drained()
    assert framed(b"slow") in slow.wire.take()
    assert framed(b"stuck") in stuck.wire.take()
    house.check_idle()


def test_draining_waits_for_methods_that_end_slowly() -> None:
    """Their clients left; what they hold has to be let go."""

    async def slow_to_leave(_message: bytes) -> bytes:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(1.0)
        raise AssertionError

    house = House(slow_to_leave)
    peer = Peer(house)
    peer.call(b"x")
    peer.turn()
    peer.wire.abort()
    house.loop.settle()
    draining = house.loop.create_task(house.server.drain())
    house.loop.settle()
    done = []
    for wait_s in (0.5, 0.4, 0.2, 0.1):
        house.loop.advance(wait_s)
        done.append(draining.done())
    assert done == [False, False, False, True]


def test_closing_ends_every_connection() -> None:
    """With a goodbye that says which calls were taken; calls that are left are cancelled."""
    gate = Gate()
    house = House(gate)
    peer, other = Peer(house), Peer(house)
    peer.call(b"x")
    peer.turn()
    house.server.close()
    house.loop.settle()
    peer.connection.go_away()
    assert peer.wire.take() == frame(GOAWAY, 0, 0, b"\0\0\0\1" + bytes(4))
    assert other.wire.take() == frame(GOAWAY, 0, 0, bytes(8))
    peer.wire.take()
    house.loop.settle()
    assert (gate.cancelled, len(house.roll), peer.wire.lost) == ([b"x"], 0, True)
    house.check_idle()


def test_the_watch_looks_at_everyone_for_ever() -> None:
    """Each second, those that came later too."""
    house = House(hello_s=2.5)
    watching = house.loop.create_task(house.server.watch())
    house.loop.settle()
    _, early = house.connect()
    house.loop.advance(1.0)
    _, late = house.connect()
    peer = Peer(house)
    lost = []
    for _ in range(4):
        house.loop.advance(1.0)
        lost.append((early.lost, late.lost))
    assert lost == [(False, False), (True, False), (True, True), (True, True)]
    assert (peer.wire.lost, watching.done(), len(house.roll)) == (False, False, 1)
    watching.cancel()
    house.loop.settle()


def test_what_happened_is_shown() -> None:
    """Calls by status, connections that are there, that were refused, that broke the protocol."""
    gate = Gate()
    house = House(gate, max_connections=2)
    registry = CollectorRegistry()
    registry.register(DirectCollector(house.server))
    peer, other = Peer(house), Peer(house)
    house.connect()
    for message in (b"done", b"under way"):
        peer.call(message)
    peer.turn()
    gate.open(b"done")
    peer.turn()

    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"tollkeeper_{name}", labels)

    assert shown("calls_ended_total", status="OK") == 1
    assert shown("calls_in_flight") == 1
    assert (shown("connections"), shown("connections_refused_total")) == (2, 1)
    other.raw(frame(GOAWAY, 0, 1, bytes(8)))
    assert shown("connections_broken_off_total", error="PROTOCOL_ERROR") == 1
    peer.wire.abort()
    house.check_idle()
    assert (shown("calls_in_flight"), shown("connections")) == (0, 0)
    assert shown("calls_ended_total", status="CANCELLED") == 1


def test_broken_connections_are_logged_now_and_then() -> None:
    """All are counted; one in ten seconds is told, with the reason."""
    now_s = 0.0
    roll = Roll(1, lambda: now_s)
    with capture_logs() as logs:
        for _ in range(3):
            roll.broke_off(ErrorCode.PROTOCOL_ERROR, "no HTTP/2")
        now_s = QUIET_S
        roll.broke_off(ErrorCode.FRAME_SIZE_ERROR, "too long")
    assert [(one["code"], one["why"]) for one in logs] == [
        ("PROTOCOL_ERROR", "no HTTP/2"),
        ("FRAME_SIZE_ERROR", "too long"),
    ]
    assert roll.broken == {"PROTOCOL_ERROR": 3, "FRAME_SIZE_ERROR": 1}
