"""Up to where the spool was settled, kept in a small file with two slots.

Slots are written in turn, so a write that is cut off leaves the other one. When neither can be
read, settlement starts from the oldest record: the ledger knows what it has, so that is harmless.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from accesslog.segments import Position

_SLOT = struct.Struct("<QQQ")
_SUM = struct.Struct("<I")
SLOT_BYTES = 32
SLOTS = 2
_NOWHERE = Position(0, 0)


class AckFile:
    """The acknowledged position of one spool; before everything when none can be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        found = [slot for slot in map(self._read, range(SLOTS)) if slot is not None]
        self._turn, self.position = max(found, default=(0, _NOWHERE))

    def write(self, position: Position) -> None:
        """Keep a position; the caller knows that all before it is committed."""
        self._turn += 1
        body = _SLOT.pack(self._turn, *position)
        slot = body + _SUM.pack(zlib.crc32(body))
        os.pwrite(self._fd, slot, self._turn % SLOTS * SLOT_BYTES)
        self.position = position

    def close(self) -> None:
        os.close(self._fd)

    def retire(self) -> None:
        """Remove the file: there is nothing left of which it could tell."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _read(self, slot: int) -> tuple[int, Position] | None:
        data = os.pread(self._fd, _SLOT.size + _SUM.size, slot * SLOT_BYTES)
        body, checksum = data[: _SLOT.size], data[_SLOT.size :]
        if len(data) < _SLOT.size + _SUM.size or _SUM.pack(zlib.crc32(body)) != checksum:
            return None
        turn, segment, offset = _SLOT.unpack(body)
        return turn, Position(segment, offset)
