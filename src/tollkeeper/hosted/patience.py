"""Deadlines and departed clients, at no cost for calls that are quick.

Nearly every call ends within a few milliseconds. A timer and a look for the client in each of them
would cost a tenth of a check. So calls stand in a line in which they began; a short while later one
timer for all looks along it, and only those that are still there get a watcher of their own, which
ends them at their deadline or soon after their client has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal

Receive = Callable[[], Awaitable[dict[str, Any]]]
Ending = Literal["", "deadline", "gone"]

QUICK_S = 0.05
"""A call that takes longer is watched; a check takes 1 to 3 ms, and up to 30 at full load."""
LOOK_S = 0.02
"""How often a watched call looks whether its client is still there."""


class Call:
    """One call under way; ``task`` is ``None`` as soon as it is over, ``ending`` why we ended
    it."""

    __slots__ = ("due_s", "ending", "receive", "task", "watch_s")

    def __init__(
        self, task: asyncio.Task[Any], receive: Receive, watch_s: float, due_s: float | None
    ) -> None:
        self.task: asyncio.Task[Any] | None = task
        self.receive = receive
        self.watch_s = watch_s
        self.due_s = due_s
        self.ending: Ending = ""


class Patience:
    """The calls of one event loop, which is kept: to ask for the running one is a system call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: deque[Call] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._watchers: set[asyncio.Task[None]] = set()

    def begin(self, receive: Receive, began_s: float, timeout_s: float | None) -> Call:
        """Note a call of the current task. Its body must have been received; times are the
        loop's."""
        task = asyncio.current_task(self._loop)
        assert task is not None, "calls are answered by tasks"
        due_s = None if timeout_s is None else began_s + timeout_s
        call = Call(task, receive, began_s + QUICK_S, due_s)
        if due_s is not None and due_s < call.watch_s:
            self._watch(call)
            return call
        self._line.append(call)
        if self._timer is None:
            self._timer = self._loop.call_at(call.watch_s, self._look)
        return call

    def _look(self) -> None:
        line, now_s = self._line, self._loop.time()
        while line and (line[0].task is None or line[0].watch_s <= now_s):
            call = line.popleft()
            if call.task is not None:
                self._watch(call)
        self._timer = self._loop.call_at(line[0].watch_s, self._look) if line else None

    def _watch(self, call: Call) -> None:
        watcher = asyncio.create_task(_watch(call), name="call watcher")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)


async def _watch(call: Call) -> None:
    """Look again and again until the call is over, overdue, or without its client."""
    loop = asyncio.get_running_loop()
    while call.task is not None:
        pause_s = LOOK_S
        if call.due_s is not None:
            pause_s = min(pause_s, call.due_s - loop.time())
            if pause_s < 0:
                _end(call, "deadline")
                return
        await asyncio.sleep(pause_s)
        # After the whole body an event says at once whether the client still listens.
        if (await call.receive())["type"] == "http.disconnect":
            _end(call, "gone")
            return


def _end(call: Call, why: Ending) -> None:
    if call.task is not None:
        call.ending = why
        call.task.cancel()
