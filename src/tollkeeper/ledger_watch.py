"""The ledger checked by itself: what is new every few minutes, the whole once a day.

It runs in the role ``admin``, which no request waits for, on connections of its own, in small
pieces with a breath after each, so that neither settlement nor the API feels it. Of all such
processes one checks at a time: whoever has the advisory lock. The verdict is kept in Postgres,
where every process reads it for its metrics (:mod:`tollkeeper.books_watch`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter

from billing.errors import TollkeeperError, Unavailable
from billing.stores.postgres_check import Pace
from billing.stores.postgres_verdicts import Verdict, keep_verdict, newest_verdicts, take_turn
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.ledger_verdict import verdict_of
from tollkeeper.operations.desk import Desk

log = structlog.get_logger("ledger")

REASONS = ("deadline", "unavailable", "fault")


class DeadlinePassed(TollkeeperError):
    """A check took longer than it may."""


class Ground(NamedTuple):
    """What a check stands on: two connections of its own, and the hot copy where there is one."""

    desk: Desk
    hot: Hot | None


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """When the ledger is checked, and at which pace.

    ``rests`` is how many times as long as a check of what is new took, nothing is checked after it.
    ``busy_s`` is the wait where another process checks. ``lines_at_once`` rows take some 30 ms of
    a core, then there is ``breath_s`` for others; fewer would make Postgres read its block ranges
    again and again. ``most_replayed`` usage events of the accounts that moved are read again from
    the first one on, some seconds of Postgres; which accounts, changes from check to check. A check
    of the whole that failed is tried again after a quarter of its interval, so that it never keeps
    what is new from being checked.
    """

    interval_s: float
    whole_interval_s: float
    deadline_s: float
    rests: int = 9
    busy_s: float = 30.0
    lines_at_once: int = 5_000
    breath_s: float = 0.05
    most_replayed: int = 1_000_000


class Due(NamedTuple):
    """What is to be checked next, and in how many seconds; 0 is now."""

    wait_s: float
    whole: bool


def next_check(newest: Sequence[Verdict], now: datetime, limits: WatchLimits) -> Due:
    """When to check what, by the newest verdicts; a clock that runs ahead delays one interval."""
    if not newest:
        return Due(0.0, whole=True)
    took_s = max((v.took_ms / 1000 for v in newest if not v.whole), default=0.0)
    rest_s = max(limits.interval_s, limits.rests * took_s)
    since_s = (now - max(v.checked_at for v in newest)).total_seconds()
    wholes = [v.checked_at for v in newest if v.whole]
    oldest = now - timedelta(seconds=limits.whole_interval_s)
    return Due(min(max(rest_s - since_s, 0.0), rest_s), not wholes or max(wholes) <= oldest)


class LedgerWatch:
    """``open_ground`` connects for one look; ``clock_s`` never goes back; ``name`` says who checks.

    ``allowance_nanos`` is what all workers together may admit of one account without Redis.
    """

    def __init__(
        self,
        open_ground: Callable[[], AbstractAsyncContextManager[Ground]],
        limits: WatchLimits,
        *,
        allowance_nanos: int,
        name: str,
        clock_s: Callable[[], float],
        registry: CollectorRegistry,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._open_ground = open_ground
        self._limits = limits
        self._allowance_nanos = allowance_nanos
        self._name = name
        self._clock_s = clock_s
        self._sleep = sleep
        self._no_whole_before_s = clock_s()
        self._failures = Counter(
            "tollkeeper_ledger_check_failures_total",
            "Checks of the ledger that came to no verdict.",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            self._failures.labels(reason)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._sleep(await self.look())

    async def look(self) -> float:
        """Check if it is time to; returns in how many seconds to look again."""
        try:
            async with self._open_ground() as ground:
                return await self._take_turn(ground)
        except DeadlinePassed as fault:
            self._failed("deadline", fault)
        except Unavailable as fault:
            self._failed("unavailable", fault)
        except Exception as fault:  # noqa: BLE001 - what it stumbles over must not end the API
            self._failed("fault", fault)
        return self._limits.interval_s

    async def _take_turn(self, ground: Ground) -> float:
        """The lock lasts as long as the transaction, which is idle while another one reads."""
        async with ground.desk.access.writing("ledger watch") as connection:
            if not await take_turn(connection):
                return self._limits.busy_s
            newest = await newest_verdicts(connection)
            due = next_check(newest, ground.desk.now(), self._limits)
            if due.wait_s > 0:
                return due.wait_s
            whole = due.whole and self._clock_s() >= self._no_whole_before_s
            verdict = await self._check(ground, whole=whole)
            await keep_verdict(connection, verdict)
        if verdict.broken:
            log.error("ledger broken", verdict=verdict.text, broken=list(verdict.broken))
        return self._limits.interval_s

    async def _check(self, ground: Ground, *, whole: bool) -> Verdict:
        began_s = self._clock_s()
        if whole:  # until it came to a verdict
            self._no_whole_before_s = began_s + self._limits.whole_interval_s / 4
        ask = CheckAsk(
            whole=whole,
            allowance_nanos=self._allowance_nanos,
            hot=ground.hot,
            pace=Pace(self._limits.lines_at_once, self._breathe),
            most_replayed=self._limits.most_replayed,
        )
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                report = await check_ledger(ground.desk, ask, lambda *_: None)
        except TimeoutError as fault:
            raise DeadlinePassed(f"no verdict within {self._limits.deadline_s:g} s") from fault
        self._no_whole_before_s = began_s if whole else self._no_whole_before_s
        return verdict_of(
            report,
            checked_by=self._name,
            took_s=self._clock_s() - began_s,
            checked_at=ground.desk.now(),
        )

    async def _breathe(self) -> None:
        await self._sleep(self._limits.breath_s)

    def _failed(self, reason: str, fault: Exception) -> None:
        self._failures.labels(reason).inc()
        unknown = fault if reason == "fault" else None
        log.warning("ledger not checked", reason=reason, why=str(fault), exc_info=unknown)
