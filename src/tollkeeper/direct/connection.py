"""One connection: frames in, calls begun, answers out.

Whatever a peer sends, it is answered as RFC 9113 says, or the connection ends with a reason. What
is on the way of every call is written out here; the rest is done by small functions below it.
"""

from __future__ import annotations

import asyncio
import math
from typing import cast

import structlog

from tollkeeper.direct import judging
from tollkeeper.direct.calls import Calls
from tollkeeper.direct.endings import EarlyEnds, Nuisances, hang_up
from tollkeeper.direct.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
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
    strip,
    write_frame,
    write_goaway,
    write_settings,
)
from tollkeeper.direct.framing import FrameReader, Taker
from tollkeeper.direct.gathering import Gathering
from tollkeeper.direct.limits import DirectLimits
from tollkeeper.direct.openings import MAX_HEADER_BYTES, Openings
from tollkeeper.direct.outbox import Outbox
from tollkeeper.direct.pulse import Pulse
from tollkeeper.direct.receiving import ReceiveWindow
from tollkeeper.direct.roll import Roll
from tollkeeper.direct.stream import Stream
from tollkeeper.unary.frames import HEADER_BYTES, too_large
from tollkeeper.unary.status import CallFailed
from tollkeeper.unary.timeouts import Timeouts

log = structlog.get_logger("direct")


class Connection(asyncio.Protocol):
    """Serves ``calls`` to one peer; ``roll`` knows all connections of the server."""

    def __init__(self, calls: Calls, limits: DirectLimits, timeouts: Timeouts, roll: Roll) -> None:
        self._calls = calls
        self._limits = limits
        self._openings = Openings(calls.methods, timeouts)
        self._roll = roll
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._early = EarlyEnds()
        self._unfinished: tuple[int, int, bytes] | None = None
        largest_bytes = max((method.max_bytes for method in calls.methods.values()), default=0)
        self._stream_bytes = min(largest_bytes + MAX_FRAME_BYTES * 4, MAX_WINDOW_BYTES)
        self._room = ReceiveWindow(limits.receive_bytes)
        self._nuisances = Nuisances(limits.free_nuisances)
        self._over = False
        self._paused_s = math.inf
        self._began_s = calls.loop.time()
        self._pulse = Pulse(limits.quiet_s, self._began_s)
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
        self._transport = Gathering(cast("asyncio.Transport", transport), self._calls.loop)
        self._outbox = Outbox(self._transport, self._calls.loop.time)
        if not self._roll.enter(self):
            self._over = True
            self._transport.close()
            return
        settings = {
            Setting.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            Setting.INITIAL_WINDOW_SIZE: self._stream_bytes,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
        }
        self._transport.write(write_settings(settings) + self._room.opening())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The peer is gone, and with it whoever waits for an answer."""
        self._over = True
        self._roll.leave(self)
        self._end_all()

    def pause_writing(self) -> None:
        """The peer reads slower than it asks: it may not ask more before it has read."""
        self._paused_s = self._calls.loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._paused_s = math.inf
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take all frames that are complete."""
        if self._over:
            return
        self._pulse.heard = True
        try:
            self._reader.feed(data)
        except ConnectionFault as fault:
            self._break_off(fault.code, str(fault))
        except Exception:
            log.exception("a connection was broken off by a fault of ours")
            self._break_off(ErrorCode.INTERNAL_ERROR, "a fault of ours")

    # --- from the server ---------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether calls are in hand: on their way here, being answered, or on their way back."""
        return bool(self._streams)

    def go_away(self) -> None:
        """Ask the peer to begin no more calls here; those that it began are answered."""
        if not self._over and not self._transport.is_closing():
            self._transport.write(write_goaway(STREAM_BITS, ErrorCode.NO_ERROR))

    def close(self) -> None:
        """End it; what was written still goes out."""
        if not self._over and not self._transport.is_closing():
            self._transport.write(write_goaway(self._last, ErrorCode.NO_ERROR))
        self._over = True
        self._transport.close()

    def look(self, now_s: float) -> None:
        """Give up a peer that has not said hello, does not read or is not there any more, bodies
        that do not end, answers nobody takes."""
        limits = self._limits
        silent = not self._reader.greeted and self._began_s < now_s - limits.hello_s
        if self._transport.is_closing():
            self._paused_s = min(self._paused_s, now_s)  # what is left to send is not taken
        if silent or self._pulse.lost or self._paused_s < now_s - limits.deliver_s:
            self._transport.abort()
        elif not self._over and not self._transport.is_closing():
            self._transport.write(self._pulse.look(now_s))
            self._give_up(now_s - limits.body_s, now_s - limits.deliver_s)

    # --- from calls --------------------------------------------------------------------------

    def succeed(self, stream: Stream, answer: bytes) -> bool:
        """Send an answer; False when its stream or the connection is gone."""
        number = stream.number
        if number not in self._streams or self._transport.is_closing():
            return False
        if self._outbox.answer(stream, answer):
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
        room = self._room
        room.left_bytes -= taken_bytes
        if room.left_bytes < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than was allowed")
        if stream is None or stream.complete:
            room.free(taken_bytes, self._transport)
            self._refuse_data(number)
            return
        stream.taken_bytes += taken_bytes
        if flags & PADDED:
            payload = strip(Kind.DATA, flags, number, payload)
        stream.body_bytes += len(payload)
        if stream.opening.fault is None:
            if stream.body:
                stream.add(payload)
            else:
                stream.body = payload
        if flags & END_STREAM:
            self._complete(stream)
        else:
            self._judge_size(stream)

    def _complete(self, stream: Stream) -> None:
        """The client has sent everything."""
        stream.complete = True
        self._room.free(stream.taken_bytes, self._transport)
        opening = stream.opening
        if opening.body_bytes is not None and opening.body_bytes != stream.body_bytes:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream.number)
        if opening.fault is None:
            self._calls.begin(stream, self)
        else:
            self._answer_fault(stream, opening.fault)

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
        head = stream.body[1:HEADER_BYTES]
        declared_bytes = int.from_bytes(head, "big") if len(head) == HEADER_BYTES - 1 else 0
        found_bytes = max(declared_bytes, stream.body_bytes - HEADER_BYTES)
        if found_bytes > method.max_bytes:
            self._answer_fault(stream, too_large(found_bytes, method.max_bytes))

    def _refuse_data(self, number: int) -> None:
        """Data of a stream that takes none: passed over where we ended it."""
        judging.begun(number, self._last, "data")
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
        self._nuisances.count(self._last)
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._let_go(stream)
            if not stream.complete:
                self._room.free(stream.taken_bytes, self._transport)

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        settings = judging.settings(flags, number, payload)
        if flags & ACK:
            return
        # What a larger window lets pass comes after: the peer counts with it from here.
        self._transport.write(write_frame(Kind.SETTINGS, ACK, 0))
        window_bytes = settings.get(Setting.INITIAL_WINDOW_SIZE)
        if window_bytes is not None:
            self._nuisances.count(self._last)
            self._sent(self._outbox.resize(window_bytes))

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        judging.ping(number, payload)
        if not flags & ACK:
            self._transport.write(write_frame(Kind.PING, ACK, 0, payload))

    def _take_window(self, _flags: int, number: int, payload: bytes) -> None:
        by_bytes = judging.window(number, self._last, payload)
        stream = self._streams.get(number)
        if number == 0:
            self._sent(self._outbox.widen(by_bytes))
        elif stream is not None:
            self._sent(self._outbox.widen_stream(stream, by_bytes))

    def _take_priority(self, _flags: int, number: int, payload: bytes) -> None:
        judging.priority(number, self._last, payload)

    def _take_push(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients push nothing")

    def _take_goaway(self, _flags: int, number: int, payload: bytes) -> None:
        """The peer will begin nothing more; it closes when it has its answers."""
        judging.going_away(number, payload)

    # --- endings -----------------------------------------------------------------------------

    def _sent(self, streams: list[Stream]) -> None:
        for stream in streams:
            self._streams.pop(stream.number, None)

    def _refuse(self, fault: StreamFault) -> None:
        stream = self._streams.get(fault.stream)
        if stream is not None:
            self._end_early(stream, fault.code)
        else:
            self._early.add(fault.stream)
            self._outbox.reset(fault.stream, fault.code)
        self._nuisances.count(self._last)

    def _give_up(self, began_s: float, waits_s: float) -> None:
        """End what takes too long: bodies that began before, answers that wait since before."""
        late = [s for s in self._streams.values() if not s.complete and s.began_s < began_s]
        for stream in (*late, *self._outbox.stuck(waits_s)):
            self._end_early(stream, ErrorCode.CANCEL)

    def _end_early(self, stream: Stream, code: ErrorCode) -> None:
        self._streams.pop(stream.number, None)
        self._pass_over(stream)
        self._let_go(stream)
        self._outbox.reset(stream.number, code)

    def _pass_over(self, stream: Stream) -> None:
        """What the client had sent by now comes too late."""
        if not stream.complete:
            self._room.free(stream.taken_bytes, self._transport)
            self._early.add(stream.number)

    def _let_go(self, stream: Stream) -> None:
        """Nobody waits for that answer any more."""
        untaken = self._outbox.forget(stream.number)
        if untaken is not None:
            self._calls.untaken(stream, untaken)
        stream.end("gone")

    def _end_all(self) -> None:
        for stream in self._streams.values():
            self._let_go(stream)
        self._streams.clear()

    def _break_off(self, code: ErrorCode, why: str) -> None:
        """Say what was wrong, answer nothing more, and end the connection."""
        self._roll.broke_off(code, why)
        self._over = True
        self._end_all()
        if not self._transport.is_closing():
            self._transport.write(write_goaway(self._last, code))
            hang_up(self._transport, self._calls.loop, self._limits.linger_s)
