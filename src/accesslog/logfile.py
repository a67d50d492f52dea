"""Reading log files: plain, gzip or zstandard, told by their first bytes, line by line.

Memory is bounded whatever is in the file: a line that is too long is dropped as it passes, and what
is compressed is unpacked in small pieces.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, Self

import zstandard

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PIECE_BYTES = 1 << 18
GZIP_INPUT_BYTES = 1 << 14
ZSTD_INPUT_BYTES = 1 << 10
"""What is unpacked at a time: to 16 MiB at the very most by gzip (a thousandfold), to 32 MiB by
zstandard (blocks of 128 KiB in four bytes)."""


class BrokenFile(Exception):
    """The file ends in the middle of its compression, or is damaged; says where."""


class Line(NamedTuple):
    """One line: its number from 1, the offset after it, and its text; ``None`` when too long.

    Offsets count unpacked bytes. ``ended`` is False for a last line without its end.
    """

    number: int
    end: int
    text: bytes | None
    ended: bool


class _Growing:
    """A line that comes in parts; of one that is too long only the length is kept."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def add(self, part: bytes) -> None:
        self.size_bytes += len(part)
        if self.size_bytes <= self._most_bytes:
            self._parts.append(part)
        else:
            self._parts.clear()

    def text(self) -> bytes | None:
        return b"".join(self._parts) if self.size_bytes <= self._most_bytes else None


class _Unpacker(Protocol):
    """One gzip member or zstandard frame on its way through."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class LogFile:
    """An open log file; use it as a context."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        magic = self._file.read(len(ZSTD_MAGIC))
        self._file.seek(0)
        self._is_zstd = magic == ZSTD_MAGIC
        self._is_packed = self._is_zstd or magic.startswith(GZIP_MAGIC)
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def read_bytes(self) -> int:
        """How far the file itself, packed or not, was read; for showing progress."""
        return self._file.tell()

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        """The unpacked content from an offset on; raises :class:`BrokenFile` after what is good."""
        if not self._is_packed:
            self._file.seek(offset)
            while piece := self._file.read(PIECE_BYTES):
                yield piece
            return
        self._file.seek(0)
        for piece in self._unpacked():
            if offset < len(piece):
                yield piece[offset:]
            offset = max(0, offset - len(piece))

    def lines(self, offset: int, number: int, max_line_bytes: int) -> Iterator[Line]:
        """Lines from an offset on, the first of them having ``number``."""
        line = _Growing(max_line_bytes)
        for piece in self.pieces(offset):
            *ends, rest = piece.split(b"\n")
            for part in ends:
                line.add(part)
                offset += line.size_bytes + 1
                yield Line(number, offset, line.text(), ended=True)
                number += 1
                line = _Growing(max_line_bytes)
            line.add(rest)
        if line.size_bytes:
            yield Line(number, offset + line.size_bytes, line.text(), ended=False)

    def _unpacked(self) -> Iterator[bytes]:
        size = ZSTD_INPUT_BYTES if self._is_zstd else GZIP_INPUT_BYTES
        unpacker: _Unpacker | None = None
        try:
            while data := self._file.read(size):
                while data:
                    unpacker = unpacker or self._unpacker()
                    piece = unpacker.decompress(data)
                    if piece:
                        yield piece
                    data = b""
                    if unpacker.eof:
                        # Files are appended to each other, and gzip ones may be padded with zeros.
                        data = unpacker.unused_data.lstrip(b"\0")
                        unpacker = None
        except (zlib.error, zstandard.ZstdError) as error:
            raise BrokenFile(f"damaged before byte {self._file.tell()}: {error}") from error
        if unpacker is not None:
            raise BrokenFile(f"truncated: its compression has no end after {self.size_bytes} bytes")

    def _unpacker(self) -> _Unpacker:
        if self._is_zstd:
            return zstandard.ZstdDecompressor().decompressobj()
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
