"""Whether the back door still has room for what requests really cost, as the front door knows it.

Every settler says in Redis, again and again, whether its spool takes more; each time for a few
seconds only, so that one that dies does not speak for ever. Every worker looks there once a second,
beside its checks. The back door is full when a settler is and none has room: while one has, Envoy
sends it what the others cannot take. Meanwhile a route does as it declares: ``closed`` refuses new
requests, because nobody might ever hear what they cost; ``open`` goes on, and what went on is
counted, and told with its times, so that the log file can be replayed.
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
    """Where settlers say whether they have room, and workers hear it."""

    async def say(self, settler: str, *, full: bool, for_s: float) -> None:
        """Say whether a settler's spool takes no more; it holds for so many seconds."""

    async def is_full(self) -> bool:
        """Whether a settler said lately that it is full, and none that it has room."""


class FullnessTeller:
    """Says whether the spool of a settler is full; ``is_full`` asks the spool."""

    def __init__(
        self,
        signal: SpoolSignal,
        settler: str,
        is_full: Callable[[], bool],
        report: Callable[[str, str], None],
    ) -> None:
        self._signal = signal
        self._settler = settler
        self._is_full = is_full
        self._report = report

    async def tell(self) -> None:
        """Say it; a Redis that is away is told the next time."""
        full = self._is_full()
        try:
            await self._signal.say(self._settler, full=full, for_s=SAID_S)
        except Unavailable as error:
            if full:
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
            "Requests that came while no settler had room, by route and by what it declares.",
            ["route", "posture"],
            registry=registry,
        )
        shown = Gauge("tollkeeper_spool_full", "1 while no settler has room.", registry=registry)
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
            self._report(
                "no settler has room: closed routes refuse, open ones go on and are marked"
            )
            return
        times = f"from Unix second {int(self._since_s)} to {int(now_s)}"
        self._report(
            f"there is room again: {self._went_on} requests went on {times};"
            " replay the log file of that time if Envoy dropped entries"
        )
