"""The place in the spool, kept in two slots."""

from pathlib import Path

import pytest

from accesslog.ackfile import SLOT_BYTES, AckFile
from accesslog.segments import Position


def kept(path: Path) -> Position:
    file = AckFile(path)
    file.close()
    return file.position


def test_the_last_place_is_found(tmp_path: Path) -> None:
    """However often it was written, the newest counts; a new file is before everything."""
    path = tmp_path / "place"
    file = AckFile(path)
    assert file.position == Position(0, 0)
    for offset in range(1, 8):
        file.write(Position(3, offset))
        assert kept(path) == Position(3, offset)
    file.close()


@pytest.mark.parametrize("at", range(28))
def test_a_torn_slot_gives_the_place_before(tmp_path: Path, at: int) -> None:
    """Whichever byte of the newest slot is wrong, the one before it is believed."""
    path = tmp_path / "place"
    file = AckFile(path)
    for offset in (1, 2):
        file.write(Position(3, offset))
    file.close()
    data = bytearray(path.read_bytes())
    data[at] ^= 1  # the second place was written to the first slot
    path.write_bytes(data)
    assert kept(path) == Position(3, 1)


@pytest.mark.parametrize("garbage", [b"", bytes(2 * SLOT_BYTES), b"\xff" * 100, b"short"])
def test_garbage_is_no_place(tmp_path: Path, garbage: bytes) -> None:
    """A file that says nothing leads back to the start."""
    path = tmp_path / "place"
    path.write_bytes(garbage)
    assert kept(path) == Position(0, 0)
