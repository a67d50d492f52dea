"""The trace headers of the call under way: there for whoever makes the span.

Where no traces are asked for nobody remembers them, and none of this is in the way of a call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from tollkeeper.unary.method import Answer

TRACE_HEADERS: Final = {b"traceparent": "traceparent", b"tracestate": "tracestate"}
Sent = Mapping[str, str]
_sent: ContextVar[Sent] = ContextVar("trace headers of the call under way")


@contextmanager
def remembered(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[None]:
    """Within it, the current task answers a call with these headers."""
    held = {
        TRACE_HEADERS[name]: value.decode("latin-1")
        for name, value in headers
        if name in TRACE_HEADERS
    }
    mark = _sent.set(held)
    try:
        yield
    finally:
        _sent.reset(mark)


def with_trace_headers(call: Callable[[bytes, Sent], Awaitable[bytes]]) -> Answer:
    """A call that is told the headers beside the message, where they are remembered."""

    async def told(wire: bytes) -> bytes:
        return await call(wire, _sent.get())

    return told
