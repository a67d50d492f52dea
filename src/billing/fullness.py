"""Whether the back door still has room for what requests really cost, as the front door knows it.

A settler whose spool takes no more says so, again and again, in Redis; each time for a few seconds
only, so that one that dies does not speak for ever. Every worker looks there once a second, beside
its checks. Meanwhile a route does as it declares: ``closed`` refuses new requests, because nobody
might ever hear what they cost; ``open`` goes on, and what went on is counted, and told with its
times, so that the log file can be replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from billing.catalog import Route
from billing.errors import Unavailable
from billing.refusals import Refusal, refuse

SAID_S = 5.0
"""For how long a settler's word holds: it says it anew every second."""
INTERVAL_S = 1.0
NO_ROOM = refuse(
    "authorization_unavailable", "what requests cost cannot be recorded right now", retry_after_s=5
)

Sleep = Callable[[float], Awaitable[None]]


class SpoolSignal(Protocol):
    """Where settlers say that they have no room, and workers hear it."""

    async def say_full(self, for_s: float) -> None:
        """Say that a spool takes no more; it holds for so many seconds."""

    async def is_full(self) -> bool:
        """Whether anybody said so lately."""


class FullnessTeller:
    """Says that the spool is full for as long as it is; ``is_full`` asks the spool."""

    def __init__(
        self,
        signal: SpoolSignal,
        is_full: Callable[[], bool],
        report: Callable[[str, str], None],
    ) -> None:
        self._signal = signal
        self._is_full = is_full
        self._report = report

    async def tell(self) -> None:
        """Say it, if it is so; a Redis that is away is told the next time."""
        if not self._is_full():
            return
        try:
            await self._signal.say_full(SAID_S)
        except Unavailable as error:
            self._report("spool_full_untold", str(error))

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Look for ever."""
        while True:
            await self.tell()
            await sleep(INTERVAL_S)


class Fullness:
    """What one worker knows of it. ``is_full`` is looked at by every check, so it is a plain value.

    ``clock`` gives Unix seconds; ``report`` hears when it begins, and when it is over with what
    went on meanwhile.
    """

    def __init__(
        self,
        signal: SpoolSignal,
        clock: Callable[[], float],
        report: Callable[[str], None],
        registry: CollectorRegistry,
    ) -> None:
        self.is_full = False
        self._signal = signal
        self._clock = clock
        self._report = report
        self._since_s = 0.0
        self._went_on = 0
        self._decided = Counter(
            "tollkeeper_spool_full_requests_total",
            "Requests that came while a spool was full, by route and by what it declares.",
            ["route", "posture"],
            registry=registry,
        )
        shown = Gauge(
            "tollkeeper_spool_full", "1 while a settler says that it is full.", registry=registry
        )
        shown.set_function(lambda: float(self.is_full))

    def judge(self, route: Route) -> Refusal | None:
        """Refuse a request of a closed route; mark one that goes on. Asked while it is full."""
        self._decided.labels(route.name, route.spool_posture).inc()
        if route.spool_posture == "closed":
            return NO_ROOM
        self._went_on += 1
        return None

    async def look(self) -> None:
        """Ask once; without an answer what was heard last holds, until there is one."""
        try:
            is_full = await self._signal.is_full()
        except Unavailable:
            return  # told by whoever needs Redis more; the postures of Redis decide meanwhile
        if is_full != self.is_full:
            self.is_full = is_full
            self._change()

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await sleep(INTERVAL_S)

    def _change(self) -> None:
        now_s = self._clock()
        if self.is_full:
            self._since_s, self._went_on = now_s, 0
            self._report("a spool is full: closed routes refuse, open ones go on and are marked")
            return
        times = f"from Unix second {int(self._since_s)} to {int(now_s)}"
        self._report(
            f"the spool has room again: {self._went_on} requests went on {times};"
            " replay the log file of that time if Envoy dropped entries"
        )
