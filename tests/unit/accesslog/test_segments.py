"""The format of the spool's files, whole and damaged."""

import pytest

from accesslog.segments import HEADER_BYTES, MARK, Damage, Position, Record, frame, scan

FIRST, SECOND, THIRD = (frame(p, 7) + p for p in (b"one", b"two two", b"three"))


def payloads(data: bytes) -> list[bytes]:
    return [found.payload for found in scan(data, 1) if isinstance(found, Record)]


def damages(data: bytes) -> list[Damage]:
    return [found for found in scan(data, 1) if isinstance(found, Damage)]


def test_records_come_back_with_their_time_and_place() -> None:
    """What was framed is read again, with the offset at which it ends."""
    found = list(scan(FIRST + SECOND, 3))
    assert found == [
        Record(Position(3, len(FIRST)), 7, b"one"),
        Record(Position(3, len(FIRST + SECOND)), 7, b"two two"),
    ]
    assert sum(r.size_bytes for r in found if isinstance(r, Record)) == len(FIRST + SECOND)


@pytest.mark.parametrize("cut", range(1, len(SECOND)))
def test_a_record_that_is_cut_off_anywhere_is_torn(cut: int) -> None:
    """However much of the last record is missing, the ones before it stand and it is told torn."""
    data = FIRST + SECOND[:-cut]
    assert payloads(data) == [b"one"]
    assert damages(data) == [Damage(len(FIRST), len(data), torn=True)]


@pytest.mark.parametrize("at", range(len(SECOND)))
def test_a_changed_byte_costs_one_record(at: int) -> None:
    """Whichever byte of a record is changed, that record is damage and its neighbours are read."""
    broken = bytearray(SECOND)
    broken[at] ^= 0xFF
    data = FIRST + bytes(broken) + THIRD
    assert payloads(data) == [b"one", b"three"]
    assert damages(data) == [Damage(len(FIRST), len(FIRST) + len(SECOND), torn=False)]


@pytest.mark.parametrize("size_bytes", [1, HEADER_BYTES, 4096])
def test_zeros_are_damage(size_bytes: int) -> None:
    """Zeros, such as a loss of power leaves, hold no record and are no torn one either."""
    assert damages(bytes(size_bytes)) == [Damage(0, size_bytes, torn=False)]
    assert payloads(FIRST + bytes(size_bytes)) == [b"one"]


def test_a_mark_within_a_payload_is_no_record() -> None:
    """A payload may hold the mark, and the search after damage passes over it."""
    tricky = MARK + b"\x01\x00\x00\x00" + bytes(12) + b"x"
    record = frame(tricky, 9) + tricky
    assert payloads(record) == [tricky]
    assert payloads(b"?" + tricky + THIRD) == [b"three"]
