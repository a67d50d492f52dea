"""Calls whose trace goes on in us. Where no traces are asked for, plain
:class:`~tollkeeper.hosted.calls.Calls` answer."""

from __future__ import annotations

from tollkeeper.hosted.calls import Calls, Scope, Send
from tollkeeper.hosted.patience import Receive
from tollkeeper.unary.trace_headers import remembered


class TracedCalls(Calls):
    """Remembers the trace headers of each call while it is answered."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call; never raises but by cancellation from outside."""
        with remembered(scope["headers"]):
            await super().answer(scope, receive, send)
