"""Answers on their way to the peer, as far as its windows reach (RFC 9113, section 5.2).

An answer is headers, one message in its frame, and trailers. Nearly always all of it fits into the
windows and goes out as one write. What does not waits here, and holds up no other answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from tollkeeper.direct.frames import (
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW_BYTES,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    ConnectionFault,
    ErrorCode,
    Kind,
    StreamFault,
    four_bytes,
    write_frame,
)
from tollkeeper.direct.stream import Stream
from tollkeeper.unary.frames import ACCEPTED_ENCODINGS, HEADER_BYTES
from tollkeeper.unary.frames import write_frame as write_message
from tollkeeper.unary.status import CallFailed, Code, message_header


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that no table keeps, unpacked (RFC 7541, section 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    """A text with its length in front, in seven bits and as many bytes as it takes."""
    size = len(text)
    if size < 0x7F:
        return bytes([size]) + text
    rest, size = bytearray([0x7F]), size - 0x7F
    while size >= 0x80:
        rest.append(size & 0x7F | 0x80)
        size >>= 7
    rest.append(size)
    return bytes(rest) + text


STATUS_200: Final = b"\x88"  # the eighth entry of the static table
_OPENING: Final = STATUS_200 + _literal(b"content-type", b"application/grpc")
_TRAILERS: Final = _literal(b"grpc-status", b"0")
_BEFORE: Final = Struct(f">HBBBI{len(_OPENING)}sHBBBIBI")
"""Headers, and what stands in front of a message: a frame of data, a frame of gRPC."""
_AFTER: Final = Struct(f">HBBBI{len(_TRAILERS)}s")
_ENDS: Final = END_HEADERS | END_STREAM


@dataclass(slots=True)
class _Waiting:
    """An answer of which some has to wait; ``since_s`` is when it began to."""

    stream: Stream
    frame: bytes
    sent_bytes: int
    since_s: float


class Outbox:
    """Sends on one connection. ``window_bytes`` is what the peer takes of all streams together.

    Answers that wait stand in one of two lines, for the window of the connection or for their own,
    so that a window that opens costs only the work of those that it lets pass.
    """

    def __init__(self, transport: asyncio.WriteTransport, now_s: Callable[[], float]) -> None:
        self._transport = transport
        self._now_s = now_s
        self.window_bytes = FIRST_WINDOW_BYTES
        self._first_window_bytes = FIRST_WINDOW_BYTES
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._held: dict[int, _Waiting] = {}

    def answer(self, stream: Stream, message: bytes) -> bool:
        """Send a message with status OK; False when some of it has to wait."""
        number, size = stream.number, len(message)
        frame_bytes = size + HEADER_BYTES
        room_bytes = min(self.window_bytes, self._first_window_bytes + stream.granted_bytes)
        if frame_bytes > room_bytes or frame_bytes > MAX_FRAME_BYTES:
            return self._answer_in_pieces(stream, message)
        self.window_bytes -= frame_bytes
        before = _BEFORE.pack(
            *(0, len(_OPENING), Kind.HEADERS, END_HEADERS, number, _OPENING),
            *(frame_bytes >> 8, frame_bytes & 0xFF, Kind.DATA, 0, number, 0, size),
        )
        after = _AFTER.pack(0, len(_TRAILERS), Kind.HEADERS, _ENDS, number, _TRAILERS)
        self._transport.write(b"".join((before, message, after)))
        return True

    def fail(self, stream: Stream, failed: CallFailed) -> None:
        """Send a status without a message (*trailers-only*)."""
        headers = _OPENING + _literal(b"grpc-status", b"%d" % failed.code)
        headers += _literal(b"grpc-message", message_header(failed.message))
        if failed.code is Code.UNIMPLEMENTED:
            headers += _literal(b"grpc-accept-encoding", ACCEPTED_ENCODINGS)
        self._transport.write(write_frame(Kind.HEADERS, _ENDS, stream.number, headers))

    def reset(self, number: int, code: ErrorCode) -> None:
        """End a stream without more words."""
        self._transport.write(write_frame(Kind.RST_STREAM, 0, number, four_bytes(code)))

    def forget(self, number: int) -> bytes | None:
        """Send no more of a stream; returns the answer of which some still waited."""
        waiting = self._waiting.pop(number, None) or self._held.pop(number, None)
        return None if waiting is None else waiting.frame[HEADER_BYTES:]

    def stuck(self, before_s: float) -> list[Stream]:
        """Streams whose answer waits since before that time."""
        waiting = (*self._waiting.values(), *self._held.values())
        return [one.stream for one in waiting if one.since_s < before_s]

    def widen(self, by_bytes: int) -> list[Stream]:
        """The peer takes more of all streams; returns those whose answer is out now."""
        self.window_bytes += by_bytes
        if self.window_bytes > MAX_WINDOW_BYTES:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond the largest")
        return self._pump()

    def widen_stream(self, stream: Stream, by_bytes: int) -> list[Stream]:
        """The peer takes more of one stream; returns it when its answer is out now."""
        stream.granted_bytes += by_bytes
        if self._first_window_bytes + stream.granted_bytes > MAX_WINDOW_BYTES:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, stream.number)
        if stream.number not in self._held or self._own_bytes(stream) <= 0:
            return []
        self._waiting[stream.number] = self._held.pop(stream.number)
        return self._pump()

    def resize(self, window_bytes: int) -> list[Stream]:
        """The peer gives every stream another first window; it may be less than was sent."""
        self._first_window_bytes = window_bytes
        held = self._held
        for number in [n for n, one in held.items() if self._own_bytes(one.stream) > 0]:
            self._waiting[number] = held.pop(number)
        return self._pump()

    def _own_bytes(self, stream: Stream) -> int:
        """What the peer takes of this stream."""
        return self._first_window_bytes + stream.granted_bytes

    def _answer_in_pieces(self, stream: Stream, message: bytes) -> bool:
        opening = write_frame(Kind.HEADERS, END_HEADERS, stream.number, _OPENING)
        self._transport.write(opening)
        waiting = _Waiting(stream, write_message(message), 0, self._now_s())
        self._waiting[stream.number] = waiting
        return bool(self._pump())

    def _pump(self) -> list[Stream]:
        """Send what the windows let pass, in turn; returns the streams whose answer is out."""
        done = []
        while self._waiting and self.window_bytes > 0:
            number, waiting = self._waiting.popitem(last=False)
            self._push(waiting)
            if waiting.sent_bytes == len(waiting.frame):
                done.append(waiting.stream)
            elif self._own_bytes(waiting.stream) > 0:
                self._waiting[number] = waiting
            else:
                self._held[number] = waiting
        return done

    def _push(self, waiting: _Waiting) -> None:
        stream, frame, at = waiting.stream, waiting.frame, waiting.sent_bytes
        most = min(self.window_bytes, self._own_bytes(stream), len(frame) - at)
        if most <= 0:
            return
        pieces = []
        for begin in range(at, at + most, MAX_FRAME_BYTES):
            piece = frame[begin : min(begin + MAX_FRAME_BYTES, at + most)]
            pieces.append(write_frame(Kind.DATA, 0, stream.number, piece))
        self.window_bytes -= most
        stream.granted_bytes -= most
        waiting.sent_bytes = at + most
        if waiting.sent_bytes == len(frame):
            pieces.append(write_frame(Kind.HEADERS, _ENDS, stream.number, _TRAILERS))
        self._transport.write(b"".join(pieces))
