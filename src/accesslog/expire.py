"""Reservations whose entry never came end here; so do promises that nobody kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from accesslog.faults import fault_class
from accesslog.metrics import MICROS, AccessLogMetrics
from accesslog.notices import Notices
from accesslog.publish import Publisher
from accesslog.settings import ExpireSettings
from billing.errors import Unavailable
from billing.stores.protocol import LedgerStore

Sleep = Callable[[float], Awaitable[None]]


class Expirer:
    """Ends what is overdue; any number of them may run on the same ledger.

    ``oldest_us`` is when the oldest entry that waits for settlement came in, ``None`` without any;
    ``now_us`` is Unix time in microseconds.
    """

    def __init__(
        self,
        ledger: LedgerStore,
        publisher: Publisher,
        *,
        settings: ExpireSettings,
        oldest_us: Callable[[], int | None],
        now_us: Callable[[], int],
        metrics: AccessLogMetrics,
        notices: Notices,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._settings = settings
        self._oldest_us = oldest_us
        self._now_us = now_us
        self._metrics = metrics
        self._notices = notices

    async def expire(self) -> int:
        """End everything that is overdue; returns how many reservations that were."""
        horizon_us = self.horizon_us()
        total = 0
        while True:
            batch = await self._ledger.expire(horizon_us, self._settings.batch_entries)
            total += batch.released
            self._metrics.expired.inc(batch.released)
            self._metrics.ended.labels("expired").inc(batch.released)
            self._metrics.charged.inc(batch.charged_nanos)
            await self._publisher.publish(batch)
            if batch.released < self._settings.batch_entries:
                return total

    def horizon_us(self) -> int:
        """Up to when lifetimes are judged: an entry that waits here may end a later one."""
        now_us = self._now_us()
        oldest_us = self._oldest_us()
        if oldest_us is None:
            return now_us
        return min(now_us, max(oldest_us, now_us - self._settings.hold_off_s * MICROS))

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Look again and again; a ledger that does not answer is asked the next time."""
        while True:
            try:
                await self.expire()
            except Unavailable as fault:
                self._metrics.retries.labels(fault_class(fault)).inc()
                self._notices.tell("expire_postponed", str(fault))
            await sleep(self._settings.interval_s)
