"""Answering calls: one task for each, its deadline, its client's departure, its status."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

import structlog

from tollkeeper.direct.deadlines import Deadlines
from tollkeeper.direct.stream import Stream
from tollkeeper.unary.frames import read_frame
from tollkeeper.unary.method import Method, Rest
from tollkeeper.unary.status import CallFailed, Code
from tollkeeper.unary.trace_headers import remembered

log = structlog.get_logger("direct")

CANCELLED = "CANCELLED"
"""How a call ended whose client left before its answer; nobody is told."""


class Sends(Protocol):
    """Where an answer goes."""

    def succeed(self, stream: Stream, answer: bytes) -> bool:
        """Send it, now or when there is room; False when nobody wants it any more."""

    def fail(self, stream: Stream, failed: CallFailed) -> None:
        """Send a status, unless nobody wants it any more."""


class Calls:
    """The calls of one server, of all its connections. ``ended`` counts them by status name;
    ``traced`` remembers the trace headers of each."""

    def __init__(
        self, methods: Mapping[str, Method], loop: asyncio.AbstractEventLoop, *, traced: bool
    ) -> None:
        self.methods = methods
        self.loop = loop
        self.in_flight = 0
        self.ended: Counter[str] = Counter()
        self._traced = traced
        self._deadlines = Deadlines(loop)

    def begin(self, stream: Stream, connection: Sends) -> None:
        """Answer a call whose message is complete, at once where nothing has to be waited for."""
        method = stream.opening.method
        assert method is not None, "what has none was answered by its headers"
        rest: Rest | None = None
        if method.begin is not None:
            try:
                answer = method.begin(_message(stream, method))
            except Exception as error:  # noqa: BLE001 - as below
                self._fail(stream, connection, _status(method, error))
                return
            if isinstance(answer, bytes):
                self._succeed(stream, connection, answer)
                return
            rest = answer
        task = self._answer_traced if self._traced else self._answer
        stream.task = self.loop.create_task(task(stream, connection, rest))
        timeout_s = stream.opening.timeout_s
        if timeout_s is not None:
            self._deadlines.begin(stream, timeout_s)

    def untaken(self, stream: Stream, answer: bytes) -> None:
        """Tell whoever made an answer that nobody took it; never raises, as its callers cannot."""
        method = stream.opening.method
        if method is None or method.gone is None:
            return
        try:
            method.gone(answer)
        except Exception:
            log.exception("an answer that nobody took was not given back")

    async def _answer_traced(self, stream: Stream, connection: Sends, rest: Rest | None) -> None:
        with remembered(stream.opening.headers):
            await self._answer(stream, connection, rest)

    async def _answer(self, stream: Stream, connection: Sends, rest: Rest | None) -> None:
        self.in_flight += 1
        method = stream.opening.method
        assert method is not None, "what has none was answered by its headers"
        try:
            answering = method.call(_message(stream, method)) if rest is None else rest()
            self._succeed(stream, connection, await answering)
        except asyncio.CancelledError:
            self._cancelled(stream, connection)
        except Exception as error:  # noqa: BLE001 - the method says what it means; ours is logged there
            self._fail(stream, connection, _status(method, error))
        finally:
            stream.task = None
            if stream.timer is not None:
                stream.timer.cancel()
            self.in_flight -= 1

    def _succeed(self, stream: Stream, connection: Sends, answer: bytes) -> None:
        if connection.succeed(stream, answer):
            self.ended["OK"] += 1
            return
        self.ended[CANCELLED] += 1
        self.untaken(stream, answer)

    def _cancelled(self, stream: Stream, connection: Sends) -> None:
        """Ended by us, or with the whole process, which rises."""
        if stream.ending == "gone":
            self.ended[CANCELLED] += 1
        elif stream.ending == "deadline":
            over = CallFailed(Code.DEADLINE_EXCEEDED, "the deadline is over")
            self._fail(stream, connection, over)
        else:
            raise asyncio.CancelledError

    def _fail(self, stream: Stream, connection: Sends, failed: CallFailed) -> None:
        self.ended[failed.code.name] += 1
        connection.fail(stream, failed)


def _message(stream: Stream, method: Method) -> bytes:
    """What was sent, unpacked; raises ``CallFailed``."""
    body, stream.body = stream.body, b""
    return read_frame(bytes(body), stream.opening.encoding, method.max_bytes)


def _status(method: Method, error: Exception) -> CallFailed:
    return error if isinstance(error, CallFailed) else method.failed(error)
