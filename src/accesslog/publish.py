"""Telling the hot copy what was committed; what it could not be told is promised and told later.

The ledger writes, in the transaction of a batch, the promise to tell of it. A promise that is not
kept within seconds (the hot copy was away, or the settler died) is kept by whichever settler looks
next, with what Postgres says by then. Publications are absolute, so telling twice is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.settings import PublishSettings
from billing.errors import Unavailable
from billing.ledger import SettledBatch
from billing.reservations import Publication
from billing.stores.protocol import HotStore, TruthStore

MICROS = 1_000_000


class Publisher:
    """Publishes the batches of one settler; ``now_us`` is Unix time in microseconds."""

    def __init__(
        self,
        hot: HotStore,
        truth: TruthStore,
        *,
        settings: PublishSettings,
        now_us: Callable[[], int],
        metrics: AccessLogMetrics,
        notices: Notices,
    ) -> None:
        self._hot = hot
        self._truth = truth
        self._settings = settings
        self._now_us = now_us
        self._metrics = metrics
        self._notices = notices
        self._kept: list[int] = []

    async def publish(self, batch: SettledBatch) -> None:
        """Tell of a committed batch; a fault of the hot copy does not undo the batch."""
        if not batch.publications:
            return
        try:
            await self._tell(batch.publications)
        except Unavailable as fault:
            self._metrics.published.labels("postponed").inc(len(batch.publications))
            self._notices.tell("publish_postponed", str(fault))
        else:
            self._metrics.published.labels("told").inc(len(batch.publications))
            if len(self._kept) < self._settings.kept_batches:
                self._kept.append(batch.batch_id)

    async def keep_promises(self) -> None:
        """Strike out what was told, and tell what nobody told yet; faults are told and passed."""
        try:
            await self._strike_out()
            await self._tell_old()
        except Unavailable as fault:
            self._notices.tell("promises_postponed", str(fault))

    async def _tell(self, publications: Sequence[Publication]) -> None:
        most = self._settings.call_accounts
        for start in range(0, len(publications), most):
            await self._hot.publish(publications[start : start + most])

    async def _strike_out(self) -> None:
        kept = self._kept
        if kept:
            await self._truth.kept(kept)
            self._kept = self._kept[len(kept) :]

    async def _tell_old(self) -> None:
        settings = self._settings
        promises = await self._truth.promises(
            settings.promise_age_s, settings.promise_batches, self._now_us() / MICROS
        )
        for batch_id, publications in promises.items():
            await self._tell(publications)
            self._metrics.published.labels("caught_up").inc(len(publications))
            await self._truth.kept([batch_id])
