"""The way to one Redis server: what waits together goes together, within a deadline, behind a
breaker.

One call is under way at a time. Requests that come meanwhile wait, and go all at once when it is
answered; so the busier the service is, the more requests share one round trip. A request waits at
most for the call before its own and for its own: one and a half deadlines in the worst case.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import NamedTuple

from billing.breaker import Breaker
from ratelimit.algorithms import Group, Reading
from ratelimit.errors import StoreUnavailable
from ratelimit.settings_values import LaneSettings

_log = logging.getLogger(__name__)

Answer = Sequence[Reading] | StoreUnavailable


class _Waiting(NamedTuple):
    group: Group
    answer: asyncio.Future[Sequence[Reading]]
    since_s: float


class LaneCounts:
    """What a lane has seen, for metrics."""

    __slots__ = ("call_seconds", "calls", "faults", "requests", "turned_away")

    def __init__(self) -> None:
        self.calls = 0
        self.requests = 0
        self.call_seconds = 0.0
        self.turned_away = 0  # more waited already than the setting allows
        self.faults: dict[str, int] = {}


class Server:
    """What a lane needs of a server; both raise :class:`StoreUnavailable`."""

    def __init__(
        self,
        name: str,
        call: Callable[[Sequence[Group]], Coroutine[None, None, Sequence[Answer]]],
        probe: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        self.name = name
        self.call = call
        self.probe = probe


class Lane:
    """Calls to one server. Its two tasks, the one that sends and the one that probes, are its own:
    their unexpected end fails whoever waits, and is logged."""

    def __init__(self, server: Server, settings: LaneSettings) -> None:
        self.server = server
        self.counts = LaneCounts()
        self.breaker = Breaker(_now_s, settings.breaker_faults)
        self._settings = settings
        self._waiting: deque[_Waiting] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def draw(self, group: Group) -> Sequence[Reading]:
        """The group's readings. Raises :class:`StoreUnavailable`."""
        if self.breaker.is_open:
            raise StoreUnavailable("breaker_open")
        if len(self._waiting) >= self._settings.waiting_requests_max:
            self.counts.turned_away += 1
            raise StoreUnavailable("too_many_waiting")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Reading]] = loop.create_future()
        self._waiting.append(_Waiting(group, answer, loop.time()))
        if self._sending is None:
            self._sending = loop.create_task(self._send_all())
            self._sending.add_done_callback(self._ended)
        return await answer

    def state(self) -> str:
        """``ok``, or ``breaker_open``."""
        return "breaker_open" if self.breaker.is_open else "ok"

    async def warm_up(self) -> None:
        """Connect before the first request; a server that is away is left to the breaker."""
        try:
            await self._probe()
        except StoreUnavailable as error:
            _log.warning("%s does not answer yet: %s", self.server.name, error)
            self._failed(error)

    async def close(self) -> None:
        """Fail whoever waits and end the tasks."""
        tasks = [task for task in (self._sending, self._probing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_waiting(StoreUnavailable("closed"))

    async def _send_all(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                size = min(len(self._waiting), self._settings.batch_requests_max)
                batch = [self._waiting.popleft() for _ in range(size)]
                await self._send(batch)
            batch = []
        finally:
            # Nothing awaits between the last look at the queue and this, so nobody is left behind.
            self._sending = None
            for waiting in batch:
                _fail(waiting, StoreUnavailable("closed"))

    async def _send(self, batch: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        deadline_s = self._settings.deadline_ms / 1000
        spent_s = min(began_s - batch[0].since_s, deadline_s / 2)
        try:
            answers = await _within(
                deadline_s - spent_s, self.server.call([waiting.group for waiting in batch])
            )
        except StoreUnavailable as error:
            self._fail(batch, error)
        else:
            self.breaker.answered()
            self.counts.calls += 1
            self.counts.requests += len(batch)
            self.counts.call_seconds += loop.time() - began_s
            for waiting, answer in zip(batch, answers, strict=True):
                _resolve(waiting, answer)

    def _fail(self, batch: Sequence[_Waiting], error: StoreUnavailable) -> None:
        """Nobody waits for a second deadline behind a server that has just missed one."""
        for waiting in batch:
            _fail(waiting, error)
        self._fail_waiting(error)
        self._failed(error)

    def _fail_waiting(self, error: StoreUnavailable) -> None:
        while self._waiting:
            _fail(self._waiting.popleft(), error)

    def _failed(self, error: StoreUnavailable) -> None:
        faults = self.counts.faults
        faults[error.reason] = faults.get(error.reason, 0) + 1
        if self.breaker.failed():
            _log.warning("%s is left alone: %s", self.server.name, error)
            self._probing = asyncio.get_running_loop().create_task(self._probe_until_answered())
            self._probing.add_done_callback(self._probed)

    async def _probe_until_answered(self) -> None:
        while self.breaker.is_open:
            await asyncio.sleep(self._settings.breaker_probe_interval_ms / 1000)
            try:
                await self._probe()
            except StoreUnavailable as error:
                _log.debug("%s still does not answer: %s", self.server.name, error)
            else:
                self.breaker.succeeded()
                _log.warning("%s answers again", self.server.name)

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(self._settings.probe_deadline_ms / 1000):
                await self.server.probe()
        except TimeoutError as error:
            raise StoreUnavailable("deadline") from error

    def _probed(self, task: asyncio.Task[None]) -> None:
        self._probing = None
        self._ended(task)
        if not task.cancelled():
            self.breaker.succeeded()  # whatever ended the probing, the next calls find out

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.error("the lane to %s broke", self.server.name, exc_info=task.exception())
            self._fail_waiting(StoreUnavailable("closed"))


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _within(
    deadline_s: float, call: Coroutine[None, None, Sequence[Answer]]
) -> Sequence[Answer]:
    """The call's answer. Raises :class:`StoreUnavailable` when the deadline passes.

    The deadline is the server's. When this process was kept from running, so that its own
    timer came late, the answer may lie here unread: then it is waited for once more.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(call)
    try:
        for _ in range(2):
            due_s = loop.time() + deadline_s
            await asyncio.wait((task,), timeout=deadline_s)
            if task.done() or loop.time() - due_s < deadline_s / 2:
                break
        if not task.done():
            raise StoreUnavailable("deadline")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _resolve(waiting: _Waiting, answer: Answer) -> None:
    if isinstance(answer, StoreUnavailable):
        _fail(waiting, answer)
    elif not waiting.answer.done():
        waiting.answer.set_result(answer)


def _fail(waiting: _Waiting, error: StoreUnavailable) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(StoreUnavailable(error.reason, error.detail))
