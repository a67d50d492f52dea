"""Deadlines at no cost for calls that are quick.

Nearly every call ends within a few milliseconds, and a timer for each costs several microseconds.
So calls stand in a line in which they began; a short while later one timer for all looks along it,
and only those that are still there get a timer of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque

from tollkeeper.direct.stream import Stream

QUICK_S = 0.05
"""A call that takes longer gets a timer; a check takes 1 to 3 ms, and up to 30 at full load."""


class Deadlines:
    """The deadlines of one event loop's calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: deque[Stream] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stream: Stream, timeout_s: float) -> None:
        """End the stream's task so long after its headers came."""
        if stream.began_s + timeout_s < self._loop.time() + QUICK_S:
            self._set(stream, timeout_s)
            return
        line = self._line
        while line and line[0].task is None:
            line.popleft()
        line.append(stream)
        if self._timer is None:
            self._timer = self._loop.call_later(QUICK_S, self._look)

    def _look(self) -> None:
        line, now_s = self._line, self._loop.time()
        while line and (line[0].task is None or line[0].began_s + QUICK_S <= now_s):
            stream = line.popleft()
            timeout_s = stream.opening.timeout_s
            # One that was ended before its task took a step has a task for ever.
            if stream.task is not None and not stream.ending and timeout_s is not None:
                self._set(stream, timeout_s)
        self._timer = None
        if line:
            self._timer = self._loop.call_at(line[0].began_s + QUICK_S, self._look)

    def _set(self, stream: Stream, timeout_s: float) -> None:
        stream.timer = self._loop.call_at(stream.began_s + timeout_s, stream.end, "deadline")
