"""Frames of HTTP/2 and what may be wrong with them (RFC 9113, sections 4, 6 and 7)."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = Struct(">HBBBI")
"""Length (16 bits and 8), kind, flags, stream."""
HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 1 << 14
"""The least that a peer may allow, and what we allow."""
MAX_WINDOW_BYTES: Final = (1 << 31) - 1
FIRST_WINDOW_BYTES: Final = (1 << 16) - 1
STREAM_BITS: Final = (1 << 31) - 1


class Kind(IntEnum):
    """Kinds of frames; others are passed over."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20


class Setting(IntEnum):
    """Settings that are sent or looked at."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The peer broke the protocol so that nothing more can be understood."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code


class StreamFault(Exception):
    """The peer broke the protocol on one stream; the others go on."""

    def __init__(self, code: ErrorCode, stream: int) -> None:
        super().__init__(code, stream)
        self.code = code
        self.stream = stream


def write_frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame; its payload must not be longer than the peer takes."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def four_bytes(number: int) -> bytes:
    """A window, an error code or a stream, as frames carry them."""
    return number.to_bytes(4, "big")


def number_of(text: bytes) -> int:
    """A number as frames carry it."""
    return int.from_bytes(text, "big")


def write_goaway(last: int, code: ErrorCode) -> bytes:
    """The end of a connection; calls up to the stream ``last`` were taken."""
    return write_frame(Kind.GOAWAY, 0, 0, four_bytes(last) + four_bytes(code))


def write_settings(settings: dict[Setting, int]) -> bytes:
    """A frame with settings of ours."""
    payload = b"".join([key.to_bytes(2, "big") + four_bytes(v) for key, v in settings.items()])
    return write_frame(Kind.SETTINGS, 0, 0, payload)


def strip(kind: Kind, flags: int, stream: int, payload: bytes) -> bytes:
    """What DATA or HEADERS carry, without padding and priority."""
    end, begin = len(payload), 0
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padding without a length")
        begin, end = 1, end - payload[0]
    if kind is Kind.HEADERS and flags & WITH_PRIORITY:
        if number_of(payload[begin : begin + 4]) & STREAM_BITS == stream:
            # As a fault of the stream it would leave headers unpacked, and their table behind.
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        begin += 5
    if begin > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[begin:end]
