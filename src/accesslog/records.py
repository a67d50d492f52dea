"""What a spooled record holds: entries, in a form that a later version can still read.

The first byte says which. A new form gets a new byte; the old ones stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from accesslog.values import Entry

ENTRIES = b"\x01"
RAW = b"\x02"
MAX_RAW_BYTES = 1 << 20
"""How much is kept of a message that cannot be parsed: enough to see what sent it."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Entry])


class NoRecord(ValueError):
    """A payload of a form that this version does not know, or with other content than its form."""


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Entries of one message, or of a part of it."""
    return ENTRIES + _ENCODER.encode(entries)


def encode_raw(data: bytes) -> bytes:
    """A message that could not be parsed, cut to ``MAX_RAW_BYTES``."""
    return RAW + data[:MAX_RAW_BYTES]


def decode(payload: bytes) -> list[Entry] | bytes:
    """Entries, or the bytes of a message that could not be parsed; raises :class:`NoRecord`."""
    if payload.startswith(RAW):
        return payload[len(RAW) :]
    if not payload.startswith(ENTRIES):
        raise NoRecord(f"form {payload[:1].hex()} is not known")
    try:
        return _DECODER.decode(memoryview(payload)[len(ENTRIES) :])
    except msgspec.DecodeError as error:
        raise NoRecord(str(error)) from error
