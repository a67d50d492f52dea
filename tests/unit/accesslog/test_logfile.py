"""Log files of every kind, whole and broken, line by line."""

import gzip
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import zstandard

from accesslog.logfile import BrokenFile, Line, LogFile

TEXT = b"".join(b'{"line": %d}\n' % n for n in range(2_000))
Pack = Callable[[bytes], bytes]
PACKED: dict[str, Pack] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "two members": lambda data: gzip.compress(data[:1_000]) + gzip.compress(data[1_000:]),
    "two frames": lambda data: zstandard.compress(data[:1_000]) + zstandard.compress(data[1_000:]),
    "padded gzip": lambda data: gzip.compress(data) + bytes(512),
}


@cache
def packed(kind: str, text: bytes) -> bytes:
    """The content of a file of a kind, packed once."""
    return PACKED[kind](text)


@cache
def noise() -> bytes:
    """Lines that no packing makes much smaller."""
    data = random.Random(1).randbytes(100_000).hex().encode()
    return b"".join(data[n : n + 400] + b"\n" for n in range(0, len(data), 400))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def lines(path: Path, offset: int = 0, number: int = 1, most: int = 1_000) -> list[Line]:
    with LogFile(path) as log:
        return list(log.lines(offset, number, most))


@pytest.mark.parametrize("kind", PACKED)
def test_every_kind_of_file_reads_alike(tmp_path: Path, kind: str) -> None:
    """Plain or packed, in one piece or several, a file has the same lines at the same offsets."""
    found = lines(write(tmp_path / "log", packed(kind, TEXT)))
    assert len(found) == 2_000
    assert b"\n".join([line.text or b"" for line in found]) + b"\n" == TEXT
    assert found[7] == Line(8, TEXT.index(b'{"line": 8}'), b'{"line": 7}', ended=True)
    assert found[-1].end == len(TEXT)


@pytest.mark.parametrize("kind", PACKED)
def test_reading_goes_on_at_an_offset(tmp_path: Path, kind: str) -> None:
    """From any place of the unpacked content the rest comes, numbered as told."""
    path = write(tmp_path / "log", packed(kind, TEXT))
    whole = lines(path)
    for at in (0, 1, 1_200, 1_999):
        place = whole[at]
        assert lines(path, place.end, place.number + 1) == whole[at + 1 :]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "two members", "two frames"])
@pytest.mark.parametrize("cut", [1, 5, 3_000])
def test_a_truncated_file_gives_what_is_good_and_then_says_so(
    tmp_path: Path, kind: str, cut: int
) -> None:
    """However much is missing, the lines before it are read and the fault names the bytes."""
    path = write(tmp_path / "log", packed(kind, noise())[:-cut])
    found: list[Line] = []
    with LogFile(path) as log, pytest.raises(BrokenFile, match="truncated"):
        found.extend(log.lines(0, 1, 1_000))
    assert len(found) >= 2  # a packed piece before the last was whole
    assert b"\n".join([line.text or b"" for line in found]) + b"\n" == noise()[: found[-1].end]


@pytest.mark.parametrize(
    "pack", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress]
)
def test_a_damaged_file_says_so(tmp_path: Path, pack: Pack) -> None:
    """Bytes that do not unpack end the file with a fault."""
    data = bytearray(pack(random.Random(1).randbytes(100_000)))
    data[3_000:3_100] = bytes(100)
    path = write(tmp_path / "log", bytes(data))
    with LogFile(path) as log, pytest.raises(BrokenFile):
        list(log.lines(0, 1, 1 << 20))


def test_a_line_that_is_too_long_passes_by(tmp_path: Path) -> None:
    """Of a long line only its place is kept; a file of one endless line takes no memory."""
    path = write(tmp_path / "log", b"a\n" + b"x" * 5_000_000 + b"\nb\n" + b"y" * 2_000)
    assert lines(path) == [
        Line(1, 2, b"a", ended=True),
        Line(2, 5_000_003, None, ended=True),
        Line(3, 5_000_005, b"b", ended=True),
        Line(4, 5_002_005, None, ended=False),
    ]


def test_a_last_line_without_its_end_is_marked(tmp_path: Path) -> None:
    """A file that is being written may end in half a line."""
    assert lines(write(tmp_path / "log", b"one\ntw")) == [
        Line(1, 4, b"one", ended=True),
        Line(2, 6, b"tw", ended=False),
    ]
    assert lines(write(tmp_path / "empty", b"")) == []
    assert lines(write(tmp_path / "blank", b"\n\n"))[1] == Line(2, 2, b"", ended=True)
