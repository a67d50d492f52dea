"""One call on a connection, from its headers to its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from tollkeeper.direct.openings import Opening

Ending = Literal["", "deadline", "gone"]


class Stream:
    """What is known of a call.

    ``body`` is what came of it, ``body_bytes`` long (nothing is kept of a call that is refused);
    ``taken_bytes`` counts what flow control counts, padding included. ``complete`` when the client
    has sent all of it. ``granted_bytes`` is what the client lets us send beyond the first window.
    ``task`` answers it, ``ending`` says why we ended that, ``timer`` ends it at its deadline.
    """

    __slots__ = (
        "began_s",
        "body",
        "body_bytes",
        "complete",
        "ending",
        "granted_bytes",
        "number",
        "opening",
        "taken_bytes",
        "task",
        "timer",
    )

    def __init__(self, number: int, opening: Opening, began_s: float) -> None:
        self.number = number
        self.opening = opening
        self.began_s = began_s
        self.body: bytes | bytearray = b""
        self.body_bytes = 0
        self.taken_bytes = 0
        self.granted_bytes = 0
        self.complete = False
        self.task: asyncio.Task[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.ending: Ending = ""

    def add(self, payload: bytes) -> None:
        """One more piece of the body: a thousand small ones take no more room than a large one."""
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += payload

    def end(self, why: Ending) -> None:
        """Cancel what answers it, if anything still does."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.task is not None and not self.ending:
            self.ending = why
            self.task.cancel()
