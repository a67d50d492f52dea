"""One connection: frames in, calls begun, answers out.

Whatever a peer sends, it is answered as RFC 9113 says, or the connection ends with a reason. What
is on the way of every call is written out here; the rest is done by small functions below it.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from tollkeeper.direct import judging
from tollkeeper.direct.calls import Calls
from tollkeeper.direct.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW_BYTES,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    PADDED,
    STREAM_BITS,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
    Kind,
    Setting,
    StreamFault,
    four_bytes,
    strip,
    write_frame,
    write_settings,
)
from tollkeeper.direct.framing import FrameReader, Taker
from tollkeeper.direct.limits import DirectLimits
from tollkeeper.direct.openings import MAX_HEADER_BYTES, Openings
from tollkeeper.direct.outbox import Outbox
from tollkeeper.direct.roll import Roll
from tollkeeper.direct.stream import Stream
from tollkeeper.unary.frames import HEADER_BYTES, too_large
from tollkeeper.unary.status import CallFailed
from tollkeeper.unary.timeouts import Timeouts

MAX_REMEMBERED: Final = 1_000
"""Streams that we ended early: what their clients had sent by then is passed over."""


class Connection(asyncio.Protocol):
    """Serves ``calls`` to one peer; ``roll`` knows all connections of the server."""

    def __init__(self, calls: Calls, limits: DirectLimits, timeouts: Timeouts, roll: Roll) -> None:
        self._calls = calls
        self._limits = limits
        self._openings = Openings(calls.methods, timeouts)
        self._roll = roll
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._early: dict[int, None] = {}
        self._unfinished: tuple[int, int, bytes] | None = None
        largest_bytes = max((method.max_bytes for method in calls.methods.values()), default=0)
        self._stream_bytes = min(largest_bytes + MAX_FRAME_BYTES * 4, MAX_WINDOW_BYTES)
        self._room_bytes = limits.receive_bytes
        self._freed_bytes = 0
        self._resets = 0
        self._broken = False
        self.began_s = calls.loop.time()
        takers: dict[int, Taker] = {
            Kind.DATA: self._take_data,
            Kind.HEADERS: self._take_headers,
            Kind.PRIORITY: self._take_priority,
            Kind.RST_STREAM: self._take_reset,
            Kind.SETTINGS: self._take_settings,
            Kind.PUSH_PROMISE: self._take_push,
            Kind.PING: self._take_ping,
            Kind.GOAWAY: self._take_goaway,
            Kind.WINDOW_UPDATE: self._take_window,
            Kind.CONTINUATION: self._take_continuation,
        }
        self._reader = FrameReader(takers, self._refuse)

    # --- what asyncio tells ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer is there; it gets our settings before it has said a word."""
        self._transport = cast("asyncio.Transport", transport)
        self._outbox = Outbox(self._transport)
        if not self._roll.enter(self):
            self._transport.close()
            return
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            Setting.INITIAL_WINDOW_SIZE: self._stream_bytes,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
        }
        more_bytes = max(self._limits.receive_bytes - FIRST_WINDOW_BYTES, 1)
        window = write_frame(Kind.WINDOW_UPDATE, 0, 0, four_bytes(more_bytes))
        self._transport.write(write_settings(settings) + window)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The peer is gone, and with it whoever waits for an answer."""
        self._roll.leave(self)
        for stream in self._streams.values():
            stream.end("gone")
        self._streams.clear()

    def pause_writing(self) -> None:
        """The peer reads slower than it asks: it may not ask more before it has read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take all frames that are complete."""
        if self._broken:
            return
        try:
            self._reader.feed(data)
        except ConnectionFault as fault:
            self._break_off(fault.code, str(fault))

    # --- from the server ---------------------------------------------------------------------

    def go_away(self) -> None:
        """Ask the peer to begin no more calls here; those that it began are answered."""
        if not self._transport.is_closing():
            self._write_goaway(STREAM_BITS, ErrorCode.NO_ERROR)

    def close(self) -> None:
        """End it; what was written still goes out."""
        if not self._transport.is_closing():
            self._write_goaway(self._last, ErrorCode.NO_ERROR)
            self._transport.close()

    def look(self, now_s: float) -> None:
        """Give up a peer that has not said hello, bodies that do not end, answers nobody takes."""
        limits = self._limits
        if not self._reader.greeted and self.began_s < now_s - limits.hello_s:
            self._transport.abort()
            return
        late_s = now_s - limits.body_s
        late = [s for s in self._streams.values() if not s.complete and s.began_s < late_s]
        for stream in (*late, *self._outbox.stuck(now_s - limits.deliver_s)):
            self._end_early(stream, ErrorCode.CANCEL)

    # --- from calls --------------------------------------------------------------------------

    def succeed(self, stream: Stream, answer: bytes) -> bool:
        """Send an answer; False when its stream or the connection is gone."""
        number = stream.number
        if number not in self._streams or self._transport.is_closing():
            return False
        if self._outbox.answer(stream, answer, self._calls.loop.time()):
            del self._streams[number]
        return True

    def fail(self, stream: Stream, failed: CallFailed) -> None:
        """Send a status; a client that has not sent everything may keep the rest."""
        if self._streams.pop(stream.number, None) is None or self._transport.is_closing():
            return
        self._outbox.fail(stream, failed)
        if not stream.complete:
            self._pass_over(stream)
            self._outbox.reset(stream.number, ErrorCode.NO_ERROR)

    # --- frames ------------------------------------------------------------------------------

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & (PADDED | WITH_PRIORITY):
            payload = strip(Kind.HEADERS, flags, number, payload)
        if number & 1 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients begin odd streams")
        if flags & END_HEADERS:
            self._begin(number, flags, payload)
        else:
            self._unfinished = (number, flags, payload)
            self._reader.only = Kind.CONTINUATION

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._unfinished is None or self._unfinished[0] != number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "nothing to go on with")
        _, first_flags, block = self._unfinished
        block += payload
        if len(block) > 2 * MAX_HEADER_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers without an end")
        self._unfinished = (number, first_flags, block)
        if flags & END_HEADERS:
            self._unfinished = self._reader.only = None
            self._begin(number, first_flags, block)

    def _begin(self, number: int, flags: int, block: bytes) -> None:
        """A call, or the trailers of one, which say nothing to us."""
        if number <= self._last:
            self._end_by_trailers(number, flags, block)
            return
        self._last = number
        opening = self._openings.read(block, number)
        if len(self._streams) >= self._limits.max_streams:
            raise StreamFault(ErrorCode.REFUSED_STREAM, number)
        stream = self._streams[number] = Stream(number, opening, self._calls.loop.time())
        if flags & END_STREAM:
            self._complete(stream)

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        taken_bytes = len(payload)
        self._room_bytes -= taken_bytes
        if self._room_bytes < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than was allowed")
        if stream is None or stream.complete:
            self._free(taken_bytes)
            self._refuse_data(number)
            return
        stream.taken_bytes += taken_bytes
        if flags & PADDED:
            payload = strip(Kind.DATA, flags, number, payload)
        stream.body_bytes += len(payload)
        if stream.opening.fault is None:
            stream.body.append(payload)
        if flags & END_STREAM:
            self._complete(stream)
        else:
            self._judge_size(stream)

    def _complete(self, stream: Stream) -> None:
        """The client has sent everything."""
        stream.complete = True
        self._free(stream.taken_bytes)
        opening = stream.opening
        if opening.body_bytes is not None and opening.body_bytes != stream.body_bytes:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream.number)
        if opening.fault is None:
            self._calls.begin(stream, self)
        else:
            self._answer_fault(stream, opening.fault)

    def _free(self, size_bytes: int) -> None:
        """So much more may come; the peer is told now and then."""
        self._freed_bytes += size_bytes
        if self._freed_bytes > self._limits.receive_bytes // 4:
            more = four_bytes(self._freed_bytes)
            self._transport.write(write_frame(Kind.WINDOW_UPDATE, 0, 0, more))
            self._room_bytes += self._freed_bytes
            self._freed_bytes = 0

    # --- what is seldom ----------------------------------------------------------------------

    def _answer_fault(self, stream: Stream, failed: CallFailed) -> None:
        self._calls.ended[failed.code.name] += 1
        self.fail(stream, failed)

    def _judge_size(self, stream: Stream) -> None:
        """A frame says first how long it is: what is too long is not waited for."""
        if stream.taken_bytes > self._stream_bytes:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, stream.number)
        method = stream.opening.method
        if method is None:
            return
        head = b"".join(stream.body[:HEADER_BYTES])[1:HEADER_BYTES]
        declared_bytes = int.from_bytes(head, "big") if len(head) == HEADER_BYTES - 1 else 0
        found_bytes = max(declared_bytes, stream.body_bytes - HEADER_BYTES)
        if found_bytes > method.max_bytes:
            self._answer_fault(stream, too_large(found_bytes, method.max_bytes))

    def _refuse_data(self, number: int) -> None:
        """Data of a stream that takes none: passed over where we ended it."""
        if number == 0 or number > self._last:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data before headers")
        if number not in self._early:
            raise StreamFault(ErrorCode.STREAM_CLOSED, number)

    def _end_by_trailers(self, number: int, flags: int, block: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None and number not in self._early:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "headers of a stream that has ended")
        if stream is not None and stream.complete:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "headers after the end")
        self._openings.skip(block, number)
        if stream is None:
            return
        if not flags & END_STREAM:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, number)
        self._complete(stream)

    def _take_reset(self, _flags: int, number: int, payload: bytes) -> None:
        judging.reset(number, self._last, payload)
        self._resets += 1
        if self._resets > max(self._limits.free_resets, self._last // 4):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many calls taken back")
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._drop(stream)

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        settings = judging.settings(flags, number, payload)
        if flags & ACK:
            return
        for key, value in settings:
            if key == Setting.INITIAL_WINDOW_SIZE:
                self._sent(self._outbox.resize(value))
        self._transport.write(write_frame(Kind.SETTINGS, ACK, 0))

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        judging.ping(number, payload)
        if not flags & ACK:
            self._transport.write(write_frame(Kind.PING, ACK, 0, payload))

    def _take_window(self, _flags: int, number: int, payload: bytes) -> None:
        by_bytes = judging.window(number, self._last, payload)
        if number == 0:
            self._sent(self._outbox.widen(by_bytes))
            return
        stream = self._streams.get(number)
        if stream is not None:
            self._sent(self._outbox.widen_stream(stream, by_bytes))

    def _take_priority(self, _flags: int, number: int, payload: bytes) -> None:
        judging.priority(number, payload)

    def _take_push(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients push nothing")

    def _take_goaway(self, _flags: int, number: int, _payload: bytes) -> None:
        """The peer will begin nothing more; it closes when it has its answers."""
        judging.of_connection(number, "going away")

    # --- endings -----------------------------------------------------------------------------

    def _sent(self, streams: list[Stream]) -> None:
        for stream in streams:
            self._streams.pop(stream.number, None)

    def _refuse(self, fault: StreamFault) -> None:
        stream = self._streams.get(fault.stream)
        if stream is not None:
            self._end_early(stream, fault.code)
        else:
            self._remember_early(fault.stream)
            self._outbox.reset(fault.stream, fault.code)

    def _end_early(self, stream: Stream, code: ErrorCode) -> None:
        self._streams.pop(stream.number, None)
        self._pass_over(stream)
        self._outbox.reset(stream.number, code)
        stream.end("gone")

    def _pass_over(self, stream: Stream) -> None:
        """What the client had sent by now comes too late."""
        if not stream.complete:
            self._free(stream.taken_bytes)
            self._remember_early(stream.number)

    def _remember_early(self, number: int) -> None:
        self._early[number] = None
        if len(self._early) > MAX_REMEMBERED:
            del self._early[next(iter(self._early))]

    def _drop(self, stream: Stream) -> None:
        """The client has taken a call back."""
        self._outbox.forget(stream.number)
        if not stream.complete:
            self._free(stream.taken_bytes)
        stream.end("gone")

    def _break_off(self, code: ErrorCode, why: str) -> None:
        """Say what was wrong, and end the connection."""
        self._roll.broke_off(code, why)
        self._broken = True
        if not self._transport.is_closing():
            self._write_goaway(self._last, code)
            self._hang_up()

    def _hang_up(self) -> None:
        """Say no more, and hear the peer out for a moment: a connection that is closed with unread
        bytes is reset, and the peer would never read why."""
        transport = self._transport
        if not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        self._calls.loop.call_later(self._limits.linger_s, transport.abort)

    def _write_goaway(self, last: int, code: ErrorCode) -> None:
        self._transport.write(write_frame(Kind.GOAWAY, 0, 0, four_bytes(last) + four_bytes(code)))
