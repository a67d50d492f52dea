"""A client of the direct transport without a socket: the library h2, which judges every frame that
we write, a transport that collects them, and an event loop whose clock the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

from tollkeeper.direct.connection import Connection
from tollkeeper.direct.limits import DirectLimits
from tollkeeper.direct.server import DirectServer
from tollkeeper.unary.method import Beginning, Method
from tollkeeper.unary.status import CallFailed
from tollkeeper.unary.timeouts import Timeouts

PATH = "/test.Service/Method"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HIGH_WATER_BYTES = 64 << 10
Headers = list[tuple[bytes, bytes]]
REQUEST: Headers = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", PATH.encode()),
    (b":authority", b"front-door"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2, byte by byte."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def framed(message: bytes) -> bytes:
    """A message of gRPC in its frame."""
    return b"\0" + len(message).to_bytes(4) + message


class _NoSelector:
    def select(self, _timeout: float | None) -> list[Any]:
        return []


class TurnedLoop(asyncio.BaseEventLoop):
    """A loop that waits for nothing: time passes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self.now_s = 100.0
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, fault: self.faults.append(fault))

    def __del__(self) -> None:
        """Nothing of the system is held: it may go without being closed."""

    def time(self) -> float:
        return self.now_s

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    def settle(self) -> None:
        """Run all that can run now."""
        turns, quiet = 0, 0
        while quiet < 2:
            self.call_soon(self.stop)
            self.run_forever()
            quiet = 0 if self._has_work() else quiet + 1
            turns += 1
            assert turns < 1_000, "something runs for ever"

    def _has_work(self) -> bool:
        due = (timer for timer in self._scheduled if timer.when() <= self.now_s)  # type: ignore[attr-defined]
        return bool(self._ready) or any(not timer.cancelled() for timer in due)  # type: ignore[attr-defined]

    def advance(self, by_s: float) -> None:
        """Let so much time pass."""
        self.now_s += by_s
        self.settle()

    @property
    def timers(self) -> int:
        """How many are set."""
        return sum(not timer.cancelled() for timer in self._scheduled)  # type: ignore[attr-defined]


class Wire(asyncio.Transport):
    """Collects what is written. While ``stuck`` the peer takes nothing off it."""

    def __init__(self, loop: TurnedLoop, protocol: Connection, *, can_half_close: bool) -> None:
        super().__init__()
        self._loop, self._protocol, self._can_half_close = loop, protocol, can_half_close
        self._buffer = b""
        self._closing = self._paused = False
        self.stuck = self.reading = self.half_closed = self.lost = False
        self.reading = True
        self.writes = 0

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if self.half_closed or self.lost:
            raise RuntimeError("a real transport raises, too")
        self.writes += 1
        self._buffer += data
        if self.stuck and len(self._buffer) > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def take(self) -> bytes:
        """What the peer reads."""
        if self.stuck:
            return b""
        self._loop.settle()  # what is written goes out at the end of a turn
        taken, self._buffer = self._buffer, b""
        if self._paused:
            self._paused = False
            self._protocol.resume_writing()
        if self._closing:
            self.abort()
        return taken

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing, self.reading = True, False
        if not self._buffer:
            self.abort()

    def abort(self) -> None:
        self._closing, self.reading = True, False
        if not self.lost:
            self.lost = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def can_write_eof(self) -> bool:
        return self._can_half_close

    def write_eof(self) -> None:
        assert self._can_half_close, "one that encrypts cannot"
        self.half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = not self._closing


@dataclass
class Answer:
    """What a client got for one call."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def message(self) -> bytes:
        """The message of a call that went well."""
        assert (self.status, self.ended) == (0, True)
        assert framed(self.body[5:]) == self.body
        return self.body[5:]

    @property
    def status(self) -> int:
        """``grpc-status``, in headers or trailers."""
        return int(self.headers[b"grpc-status"])


async def echo(message: bytes) -> bytes:
    """The simplest method."""
    return message


class Gate:
    """A method whose answers the test lets go, in any order."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self.cancelled: list[bytes] = []

    async def __call__(self, message: bytes) -> bytes:
        mine = self.waiting[message] = asyncio.get_running_loop().create_future()
        try:
            return await mine
        except asyncio.CancelledError:
            self.cancelled.append(message)
            raise

    def open(self, message: bytes, answer: bytes | None = None) -> None:
        """Answer the call with that message."""
        self.waiting.pop(message).set_result(message if answer is None else answer)


class House:
    """A server of one method, ``PATH``, without a listener."""

    def __init__(
        self,
        call: Callable[[bytes], Awaitable[bytes]] = echo,
        *,
        max_bytes: int = 1 << 20,
        gone: Callable[[bytes], None] | None = None,
        fault: Callable[[Exception], CallFailed | None] = lambda _error: None,
        begin: Beginning | None = None,
        traced: bool = False,
        **limits: Any,
    ) -> None:
        self.loop = TurnedLoop()
        self.limits = replace(DirectLimits(), **limits)
        methods = {PATH: Method(call, fault, max_bytes, gone, begin)}
        self.server = DirectServer(methods, self.loop, traced=traced, limits=self.limits)
        self.calls, self.roll = self.server.calls, self.server.roll
        self.timeouts = Timeouts()

    def connect(self, *, can_half_close: bool = True) -> tuple[Connection, Wire]:
        """A connection that is made."""
        connection = Connection(self.calls, self.limits, self.timeouts, self.roll)
        wire = Wire(self.loop, connection, can_half_close=can_half_close)
        connection.connection_made(wire)
        return connection, wire

    def check_idle(self) -> None:
        """Nothing is left of any call: no task, no timer, no fault that nobody heard of."""
        self.loop.advance(10_000.0)
        assert (self.calls.in_flight, asyncio.all_tasks(self.loop)) == (0, set())
        assert (self.loop.timers, self.loop.faults) == (0, [])


class Peer:
    """A client on a connection of its own. With ``takes`` it gives back every window at once."""

    def __init__(
        self,
        house: House,
        settings: Mapping[SettingCodes, int] | None = None,
        *,
        takes: bool = True,
        can_half_close: bool = True,
    ) -> None:
        self.house, self.takes = house, takes
        self.connection, self.wire = house.connect(can_half_close=can_half_close)
        config = H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = H2Connection(config)
        if settings:
            self.h2.local_settings = Settings(client=True, initial_values=dict(settings))
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.seen: list[events.Event] = []
        self.unsent = b""
        self.turn()

    def turn(self) -> None:
        """Send what is to be sent, let the server work, take what it says, until all is said."""
        while True:
            self.unsent += self.h2.data_to_send()
            if self.unsent and self.wire.reading:
                sent, self.unsent = self.unsent, b""
                self.connection.data_received(sent)
            self.house.loop.settle()
            said = self.wire.take()
            if not said:
                return
            for event in self.h2.receive_data(said):
                self._hear(event)

    def _hear(self, event: events.Event) -> None:
        self.seen.append(event)
        match event:
            case events.ResponseReceived() | events.TrailersReceived():
                self._of(event.stream_id).headers.update(event.headers)
            case events.DataReceived():
                self._of(event.stream_id).body += event.data
                if self.takes and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case events.StreamEnded():
                self._of(event.stream_id).ended = True
            case events.StreamReset():
                self._of(event.stream_id).reset = int(event.error_code)

    def _of(self, stream: int | None) -> Answer:
        assert stream is not None
        return self.answers.setdefault(stream, Answer())

    def begin(self, *more: tuple[bytes, bytes], headers: Headers = REQUEST) -> int:
        """The headers of a call; not yet sent."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*headers, *more])
        return stream

    def call(self, message: bytes, *more: tuple[bytes, bytes]) -> int:
        """A whole call; not yet sent."""
        stream = self.begin(*more)
        self.h2.send_data(stream, framed(message), end_stream=True)
        return stream

    def ask(self, message: bytes, *more: tuple[bytes, bytes]) -> Answer:
        """A whole call, and what came of it by now."""
        stream = self.call(message, *more)
        self.turn()
        return self._of(stream)

    def raw(self, *frames: bytes) -> None:
        """Send bytes that h2 would not."""
        self.unsent += self.h2.data_to_send() + b"".join(frames)
        self.turn()

    def ended_by(self) -> int | None:
        """The error code with which the server said goodbye."""
        for event in self.seen:
            if isinstance(event, events.ConnectionTerminated):
                assert event.error_code is not None
                return int(event.error_code)
        return None

    def check_alive(self) -> None:
        """The connection goes on."""
        assert self.ask(b"still there?").message == b"still there?"


def kinds(seen: Iterable[events.Event]) -> list[type[events.Event]]:
    """What happened, without the details."""
    return [type(event) for event in seen]
