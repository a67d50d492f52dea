"""Calls whose trace goes on in us: their headers are there for whoever makes the span.

Where no traces are asked for, plain :class:`~tollkeeper.hosted.calls.Calls` answer, and none of
this is in the way of a call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Final

from tollkeeper.hosted.calls import Answer, Calls, Scope, Send
from tollkeeper.hosted.patience import Receive

TRACE_HEADERS: Final = {b"traceparent": "traceparent", b"tracestate": "tracestate"}
Sent = Mapping[str, str]
_sent: ContextVar[Sent] = ContextVar("trace headers of the call under way")


class TracedCalls(Calls):
    """Remembers the trace headers of each call while it is answered."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call; never raises but by cancellation from outside."""
        held = {
            TRACE_HEADERS[name]: value.decode("latin-1")
            for name, value in scope["headers"]
            if name in TRACE_HEADERS
        }
        mark = _sent.set(held)
        try:
            await super().answer(scope, receive, send)
        finally:
            _sent.reset(mark)


def with_trace_headers(call: Callable[[bytes, Sent], Awaitable[bytes]]) -> Answer:
    """A call of :class:`TracedCalls` that is told the headers beside the message."""

    async def told(wire: bytes) -> bytes:
        return await call(wire, _sent.get())

    return told
