"""One deadline for many waits of the same length.

A timer of the event loop for each wait costs several microseconds, which is a tenth of a check.
Waits of one length end in the order in which they began, so one timer for the first of them is
enough.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Wait:
    """One wait; ``task`` is ``None`` as soon as it is over."""

    __slots__ = ("due_s", "expired", "task")

    def __init__(self, task: asyncio.Task[Any] | None, due_s: float) -> None:
        self.task = task
        self.due_s = due_s
        self.expired = False


class Deadline:
    """Gives up waits after ``limit_s``; belongs to one event loop."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._line: deque[_Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None
        # Asking for the running loop is a system call (getpid) in Python 3.11.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def keep(self, work: Awaitable[Result]) -> Result:
        """The result of ``work``; when it is late it is cancelled and ``TimeoutError`` raised."""
        wait = self._begin()
        task = wait.task
        try:
            return await work
        except asyncio.CancelledError:
            # Cancelled by others as well? Then that is what has to be told.
            if not wait.expired or task is None or task.uncancel() > 0:
                raise
            raise TimeoutError from None
        finally:
            wait.task = None

    def _begin(self) -> _Wait:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        wait = _Wait(asyncio.current_task(loop), loop.time() + self._limit_s)
        line = self._line
        while line and line[0].task is None:
            line.popleft()
        line.append(wait)
        if self._timer is None:
            self._timer = loop.call_at(wait.due_s, self._give_up, loop)
        return wait

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        line = self._line
        while line and (line[0].task is None or line[0].due_s <= now_s):
            wait = line.popleft()
            if wait.task is not None:
                wait.expired = True
                wait.task.cancel()
        self._timer = loop.call_at(line[0].due_s, self._give_up, loop) if line else None
