"""Messages in their frames: one byte of flags, four of length, the message.

A unary call is one frame. A message may be compressed, with the encoding that a header names; the
bound holds for what comes out of it, so a small frame never becomes a large message.
"""

from __future__ import annotations

import zlib
from typing import Final

from tollkeeper.unary.status import CallFailed, Code

HEADER_BYTES: Final = 5
ACCEPTED_ENCODINGS: Final = b"identity,deflate,gzip"
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
_COMPRESSED = 1


def write_frame(message: bytes) -> bytes:
    """A message as it is, in its frame."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def read_frame(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """The one message of a body; raises :class:`CallFailed` for everything else.

    ``encoding`` is the header ``grpc-encoding``, empty where there is none.
    """
    size_bytes = len(body) - HEADER_BYTES
    if size_bytes < 0:
        raise CallFailed(Code.INTERNAL, "the message has no frame")
    flags, declared_bytes = body[0], int.from_bytes(body[1:HEADER_BYTES], "big")
    if declared_bytes > max_bytes:
        raise too_large(declared_bytes, max_bytes)
    if declared_bytes != size_bytes:
        raise CallFailed(
            Code.INTERNAL, f"the frame says {declared_bytes} bytes, and {size_bytes} came"
        )
    if flags == 0:
        return body[HEADER_BYTES:]
    if flags != _COMPRESSED:
        raise CallFailed(Code.INTERNAL, f"a frame with the flags {flags}")
    return _unpack(body[HEADER_BYTES:], encoding, max_bytes)


def too_large(size_bytes: int, max_bytes: int) -> CallFailed:
    """What is said of a message above the bound."""
    return CallFailed(
        Code.RESOURCE_EXHAUSTED, f"the message has {size_bytes} bytes; at most {max_bytes}"
    )


def refuse_encoding(encoding: bytes) -> CallFailed | None:
    """A fault when messages in that encoding cannot be read."""
    if not encoding or encoding == b"identity" or encoding in _WINDOW_BITS:
        return None
    return CallFailed(Code.UNIMPLEMENTED, "that grpc-encoding is not understood here")


def _unpack(packed: bytes, encoding: bytes, max_bytes: int) -> bytes:
    window_bits = _WINDOW_BITS.get(encoding)
    if window_bits is None:
        raise CallFailed(Code.INTERNAL, "a compressed message without its grpc-encoding")
    inflater = zlib.decompressobj(window_bits)
    try:
        message = inflater.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise CallFailed(Code.INTERNAL, "the compressed message cannot be read") from error
    if len(message) > max_bytes:
        raise CallFailed(Code.RESOURCE_EXHAUSTED, f"the message has more than {max_bytes} bytes")
    if not inflater.eof:
        raise CallFailed(Code.INTERNAL, "the compressed message is cut off")
    return message
