"""Whatever a peer sends after a good greeting: nothing rises, nothing stays, and it is told."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tollkeeper.direct_peer import PREFACE, REQUEST, House, Wire, frame, framed

GREETING = PREFACE + frame(4, 0, 0)
GOAWAY, PING, ACK = 7, 6, 1
BLOCK = b"".join(
    b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in REQUEST
)
KEPT = b"\x40" + BLOCK[1:] + b"\x40\5other\5value\xbe"
NUMBERS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 2, 99, (1 << 31) - 1, 1 << 31])
PAYLOADS = st.one_of(
    st.sampled_from([
        *(b"", bytes(4), b"\0\0\0\1", bytes(8), b"\0\4\0\0\0\0", b"\0\4\0\0\0\3", b"\0\0\0\1\0"),
        *(BLOCK, BLOCK, KEPT, BLOCK[:40], b"\x3f\0" + BLOCK, b"\3" + BLOCK + bytes(3)),
        *(framed(b"hi"), framed(b"hi"), framed(b"x" * 300), framed(b"x" * 3_000)[:2_000]),
    ]),
    st.binary(max_size=30),
)  # fmt: skip
FLAGS = st.one_of(st.sampled_from([0, 1, 4, 4, 5, 5, 8, 13, 32, 44]), st.integers(0, 255))
FRAMES = st.lists(st.builds(frame, st.integers(0, 10), FLAGS, NUMBERS, PAYLOADS), max_size=40)
CALL = frame(1, 4, 1, BLOCK) + frame(0, 1, 1, framed(b"hi"))


def parsed(said: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Our frames: kind, flags, stream, payload; all of them whole."""
    at = 0
    while at < len(said):
        size = int.from_bytes(said[at : at + 3])
        payload = said[at + 9 : at + 9 + size]
        assert len(payload) == size <= 16_384
        yield said[at + 3], said[at + 4], int.from_bytes(said[at + 5 : at + 9]), payload
        at += 9 + size


def check_heard(house: House, wire: Wire, sent: list[bytes]) -> None:
    """The peer was served to the end, or told goodbye as the last that it heard."""
    connection = next(iter(house.roll))
    for data in (GREETING, *sent):
        connection.data_received(data)  # type: ignore[attr-defined]
        house.loop.settle()
    frames = list(parsed(wire.take()))
    assert GOAWAY not in [kind for kind, _, _, _ in frames[:-1]]
    if frames[-1][0] == GOAWAY:
        assert wire.half_closed
        assert not connection.busy
    else:
        reader = connection._reader  # type: ignore[attr-defined]
        assert reader._buffer or reader.only or answers_ping(house, wire)
        wire.abort()
    house.check_idle()
    assert (wire.lost, len(house.roll)) == (True, 0)


def answers_ping(house: House, wire: Wire) -> bool:
    (connection,) = house.roll
    connection.data_received(frame(PING, 0, 0, b"and now?"))  # type: ignore[attr-defined]
    return wire.take() == frame(PING, ACK, 0, b"and now?")


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_random_bytes_are_survived(noise: list[bytes]) -> None:
    """As frames they mean anything, or nothing yet."""
    house = House()
    _, wire = house.connect()
    check_heard(house, wire, [CALL, *noise])


@given(FRAMES, st.booleans())
def test_random_frames_are_survived(frames: list[bytes], at_once: bool) -> None:
    """In any order, with wrong and right flags, streams, blocks and messages; at once or one by
    one."""
    house = House(max_bytes=1_000, max_streams=2)
    _, wire = house.connect()
    check_heard(house, wire, [b"".join(frames)] if at_once else frames)


@given(FRAMES)
def test_noise_inside_a_conversation_is_survived(frames: list[bytes]) -> None:
    """Good calls before each of them: they are answered until the connection ends."""
    house = House()
    _, wire = house.connect()
    sent = []
    for number, noise in enumerate(frames):
        stream = 101 + 2 * number
        sent += [frame(1, 4, stream, BLOCK) + frame(0, 1, stream, framed(b"hi")), noise]
    check_heard(house, wire, sent)
