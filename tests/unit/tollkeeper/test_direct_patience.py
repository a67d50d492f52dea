"""Peers and calls that take too long are given up, and only those."""

from __future__ import annotations

from h2 import events
from h2.settings import SettingCodes

from tests.unit.tollkeeper.direct_peer import PREFACE, House, Peer, frame, framed, kinds

DATA, CANCEL = 0, 8


def test_who_never_greets_is_given_up() -> None:
    """Connected, half a greeting, silence."""
    house = House(hello_s=3.0)
    connection, wire = house.connect()
    connection.data_received(PREFACE)
    peer = Peer(house)
    lost = []
    for wait_s in (3.0, 0.1):
        house.loop.now_s += wait_s
        for one in house.roll:
            one.look(house.loop.time())
        lost.append(wire.lost)
    assert lost == [False, True]
    peer.check_alive()


def test_slow_bodies_are_given_up() -> None:
    """Their streams end, with what had come of them; the connection goes on."""
    house = House(body_s=3.0)
    peer = Peer(house)
    slow = peer.begin()
    peer.h2.send_data(slow, framed(b"hello")[:-1])
    peer.turn()
    house.loop.advance(2.0)
    young = peer.begin()
    peer.turn()
    house.loop.advance(1.0)
    peer.connection.look(house.loop.time())
    peer.turn()
    assert peer.answers == {}
    house.loop.advance(0.1)
    peer.connection.look(house.loop.time())
    peer.turn()
    assert (peer.answers[slow].reset, young in peer.answers) == (CANCEL, False)
    peer.raw(frame(DATA, 1, slow, b"o"))
    room = peer.connection._room
    assert (room.left_bytes + room._freed_bytes, peer.ended_by()) == (room.size_bytes, None)
    peer.h2.send_data(young, framed(b"hello"), end_stream=True)
    peer.turn()
    assert peer.answers[young].message == b"hello"


def stuck_peer() -> tuple[House, Peer]:
    """It asked for more than it reads."""
    house = House(deliver_s=5.0)
    peer = Peer(house, {SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
    peer.h2.increment_flow_control_window(1 << 30)
    peer.turn()
    peer.wire.stuck = True
    for _ in range(20):
        peer.call(b"x" * 10_000)
        peer.turn()
    return house, peer


def test_who_does_not_read_is_not_read_from() -> None:
    """What it asks then waits with it, and is answered when it reads again."""
    house, peer = stuck_peer()
    read = [peer.wire.reading]
    assert 0 < house.calls.ended["OK"] < 10
    peer.wire.stuck = False
    peer.turn()
    read.append(peer.wire.reading)
    assert read == [False, True]
    assert all(answer.message == b"x" * 10_000 for answer in peer.answers.values())
    assert house.calls.ended == {"OK": 20}
    house.check_idle()


def test_who_does_not_read_for_long_is_given_up() -> None:
    """With all that waits for it in memory; one that read again in between is not."""
    house, peer = stuck_peer()
    house.loop.advance(4.0)
    peer.wire.stuck = False
    peer.turn()
    house.loop.advance(4.0)
    peer.connection.look(house.loop.time())
    peer.check_alive()
    house, peer = stuck_peer()
    house.loop.advance(5.1)
    peer.connection.look(house.loop.time())
    house.loop.settle()
    assert (peer.wire.lost, len(house.roll)) == (True, 0)


def test_a_connection_that_cannot_close_is_aborted() -> None:
    """The peer closed, and does not take what was said last."""
    house = House(deliver_s=5.0)
    peer = Peer(house)
    peer.wire.stuck = True
    peer.call(b"x")
    peer.turn()
    peer.wire.close()
    for _ in range(7):
        assert not peer.wire.lost
        peer.connection.look(house.loop.time())
        house.loop.advance(1.0)
    assert peer.wire.lost


def test_who_is_not_there_any_more_is_given_up() -> None:
    """Asked after some silence, and given up after as much again; who answers is asked again after
    as long, and who has something to say is not asked."""
    house = House(quiet_s=60.0)
    gone, there, talker = Peer(house), Peer(house), Peer(house)
    lost = []
    for second in range(200):
        house.loop.advance(1.0)
        for one in house.roll:
            one.look(house.loop.time())
        if second % 50 == 0:
            talker.ask(b"x")
        there.turn()
        lost.append(gone.wire.lost)
    assert lost.index(True) in range(120, 125)
    assert (there.wire.lost, talker.wire.lost) == (False, False)
    assert kinds(there.seen).count(events.PingReceived) == 3
    assert kinds(talker.seen).count(events.PingReceived) == 0
