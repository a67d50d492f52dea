"""The spool's files: records with a checksum each, found again around damage.

A segment is a file of records, one after another. A record is a header and a payload:

===== ============= ===========================================================
bytes field         meaning
===== ============= ===========================================================
4     mark          ``MARK``: where a record may begin
4     length        bytes of payload, little-endian, above zero
4     checksum      CRC-32 over length, time and payload
8     time          when it was appended, Unix microseconds
===== ============= ===========================================================

A process that dies while it writes leaves a *torn* end: a record that begins and is cut off. Any
other bytes that are no record are *damage*: the search goes on at the next mark, so one bad place
costs the records that it covers and no others. A file of zeros has no mark: damage as a whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

MARK = b"\xf5TKR"
_HEADER = struct.Struct("<4sIIQ")
_COVERED = struct.Struct("<IQ")
HEADER_BYTES = _HEADER.size


class Position(NamedTuple):
    """A place in the spool: the segment's number and an offset in bytes."""

    segment: int
    offset: int


class Record(NamedTuple):
    """One record: where it ends, when it was appended (Unix microseconds), and what it holds."""

    end: Position
    appended_us: int
    payload: bytes

    @property
    def size_bytes(self) -> int:
        """What the record takes on disk."""
        return HEADER_BYTES + len(self.payload)


class Damage(NamedTuple):
    """Bytes of a segment that are no record; ``torn`` when a record was merely cut off there."""

    start: int
    end: int
    torn: bool


def frame(payload: bytes, appended_us: int) -> bytes:
    """The header of a record."""
    assert payload, "an empty record would look like zeros"
    checksum = _checksum(payload, appended_us)
    return _HEADER.pack(MARK, len(payload), checksum, appended_us)


def scan(data: bytes, segment: int, offset: int = 0) -> Iterator[Record | Damage]:
    """Every record from ``offset`` on, and the damage between them, in order."""
    at = offset
    while at < len(data):
        record = _record_at(data, segment, at)
        if record is None:
            resumed = _next_record(data, segment, at + 1)
            yield Damage(at, resumed, torn=resumed == len(data) and _is_cut_off(data, at))
            at = resumed
        else:
            yield record
            at = record.end.offset


def _checksum(payload: bytes, appended_us: int) -> int:
    return zlib.crc32(payload, zlib.crc32(_COVERED.pack(len(payload), appended_us)))


def _record_at(data: bytes, segment: int, at: int) -> Record | None:
    start = at + HEADER_BYTES
    if start > len(data):
        return None
    mark, length, checksum, appended_us = _HEADER.unpack_from(data, at)
    end = start + length
    if mark != MARK or not length or end > len(data):
        return None
    payload = data[start:end]
    if _checksum(payload, appended_us) != checksum:
        return None
    return Record(Position(segment, end), appended_us, payload)


def _next_record(data: bytes, segment: int, at: int) -> int:
    """Where the next whole record begins, or the end of the data."""
    found = data.find(MARK, at)
    while found >= 0 and _record_at(data, segment, found) is None:
        found = data.find(MARK, found + 1)
    return found if found >= 0 else len(data)


def _is_cut_off(data: bytes, at: int) -> bool:
    """Whether a record begins here and merely lacks its end."""
    rest = len(data) - at
    if rest < HEADER_BYTES:
        return data[at : at + len(MARK)] == MARK[:rest]
    mark, length, _, _ = _HEADER.unpack_from(data, at)
    return bool(mark == MARK and rest - HEADER_BYTES < length)
