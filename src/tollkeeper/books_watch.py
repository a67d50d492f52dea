"""What stands in the books, for Prometheus: live reservations, verdicts of checks, what waits.

One role reads it from Postgres every few seconds, by statements that cost as much as what they
count: what is pending, not what ever was. How reservations ended is counted where they end
(``tollkeeper_accesslog_ended_total``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from billing.errors import TollkeeperError
from billing.stores import postgres_status as status
from billing.stores.postgres_access import Connection
from billing.stores.postgres_check import chain_end
from billing.stores.postgres_status import BooksStatus, ReservationStatus
from billing.stores.postgres_verdicts import Verdict, newest_verdicts
from tollkeeper.ledger_report import TITLES
from tollkeeper.operations.desk import View

log = structlog.get_logger("books")
UNKNOWN = float("nan")
"""Of what could not be read or was not looked at: no comparison with it holds."""
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class BooksLimits:
    """``interval_s``: Prometheus asks every 15 s by default. ``rests``: a reading that took long,
    because much is pending, is followed by a rest that is so many times longer."""

    interval_s: float = 15.0
    rests: int = 20


class Books(NamedTuple):
    """One reading, in one snapshot. ``clock_ahead_s`` is Postgres's clock against ours."""

    at: datetime
    reservations: ReservationStatus
    waiting: BooksStatus
    verdicts: Sequence[Verdict]
    last_batch: int
    clock_ahead_s: float


async def read_books(view: View) -> Books:
    """Read everything that is shown."""
    connection = view.connection
    ahead_s = await _clock_ahead_s(connection, view.now)
    return Books(
        view.now,
        await status.reservation_status(connection, view.now),
        await status.books_status(connection),
        await newest_verdicts(connection),
        (await chain_end(connection)).batch_id,
        ahead_s,
    )


async def _clock_ahead_s(connection: Connection, now: datetime) -> float:
    """The view was taken a moment ago, which is counted in: milliseconds, where seconds matter."""
    return ((await status.server_status(connection)).now - now).total_seconds()


def scope_of(verdict: Verdict) -> str:
    """``whole``, or ``new``: what came after the check before."""
    return "whole" if verdict.whole else "new"


class BooksMetrics:
    """Names by Prometheus's conventions; every label is a word of the program."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.reservations = self._gauge(
            "reservations", "Live ones, and those lost within a day, by state.", "state"
        )
        self.held = self._gauge("reservations_held_nano_usd", "What pending ones hold.")
        self.oldest_s = self._gauge("reservations_oldest_seconds", "Age of the oldest pending one.")
        self.untold = self._gauge("untold_batches", "Not told to Redis within a minute.")
        self.quarantine = self._gauge("quarantine_entries", "Put aside for a person.")
        self.clock = self._gauge("postgres_clock_ahead_seconds", "Postgres's clock against ours.")
        self.broken = self._gauge(
            "ledger_broken",
            "1 for an invariant that the newest check found broken.",
            "invariant",
            "scope",
        )
        self.checked_at = self._gauge(
            "ledger_checked_timestamp_seconds", "When the newest check ended; 0 is never.", "scope"
        )
        self.check_s = self._gauge("ledger_check_duration_seconds", "Of the newest check.", "scope")
        self.checked_batch = self._gauge(
            "ledger_checked_batch", "The last batch that the newest check looked at.", "scope"
        )
        self.last_batch = self._gauge("ledger_last_batch", "The last batch that there is.")
        self.unread = Counter(
            "tollkeeper_books_unread_total", "Readings that failed.", registry=registry
        )
        for scope in ("new", "whole"):
            self.checked_at.labels(scope).set(0)
            self.checked_batch.labels(scope).set(0)
        self.forget()

    def show(self, books: Books) -> None:
        """Take over what was read."""
        found = books.reservations
        for state in ("pending", "overdue", "expired"):
            self.reservations.labels(state).set(getattr(found, state))
        self.held.set(found.held_nanos)
        now_us = int(books.at.timestamp() * MICROS)
        age_us = 0 if found.oldest_us is None else max(0, now_us - found.oldest_us)
        self.oldest_s.set(age_us / MICROS)
        self.untold.set(books.waiting.untold_batches)
        self.quarantine.set(books.waiting.quarantined)
        self.clock.set(books.clock_ahead_s)
        self.last_batch.set(books.last_batch)
        for verdict in books.verdicts:
            newest = verdict.checked_at == max(other.checked_at for other in books.verdicts)
            self._show_verdict(verdict, () if newest else verdict.broken_now)

    def forget(self) -> None:
        """What stood a while ago is not what stands: nothing is known now."""
        for state in ("pending", "overdue", "expired"):
            self.reservations.labels(state).set(UNKNOWN)
        for gauge in (self.held, self.oldest_s, self.untold, self.quarantine, self.clock):
            gauge.set(UNKNOWN)

    def _show_verdict(self, verdict: Verdict, superseded: Sequence[int]) -> None:
        scope = scope_of(verdict)
        for invariant in TITLES:
            known = UNKNOWN if invariant in verdict.skipped else 0
            broken = invariant in verdict.broken and invariant not in superseded
            value = 1 if broken else known
            self.broken.labels(str(invariant), scope).set(value)
        self.checked_at.labels(scope).set(verdict.checked_at.timestamp())
        self.check_s.labels(scope).set(verdict.took_ms / 1000)
        self.checked_batch.labels(scope).set(verdict.through_batch)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"tollkeeper_{name}", meaning, labels, registry=self._registry)


class BooksWatch:
    """Reads again and again; ``open_view`` is a snapshot whose statements have a deadline."""

    def __init__(
        self,
        open_view: Callable[[], AbstractAsyncContextManager[View]],
        metrics: BooksMetrics,
        clock_s: Callable[[], float],
        limits: BooksLimits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._open_view = open_view
        self._metrics = metrics
        self._clock_s = clock_s
        self._limits = limits or BooksLimits()
        self._sleep = sleep

    async def run(self) -> None:
        """Look for ever."""
        while True:
            began_s = self._clock_s()
            await self.look()
            took_s = self._clock_s() - began_s
            await self._sleep(max(self._limits.interval_s, self._limits.rests * took_s))

    async def look(self) -> None:
        """Read once; where Postgres does not answer, nothing of now is shown."""
        try:
            async with self._open_view() as view:
                books = await read_books(view)
        except TollkeeperError as fault:
            self._metrics.unread.inc()
            self._metrics.forget()
            log.warning("books not read", why=str(fault))
            return
        self._metrics.show(books)
