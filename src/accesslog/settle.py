"""THE STORY of the back door: a batch of entries becomes money, exactly once.

    entries -> judged (pure) -> one transaction -> the hot copy is told -> the spool may let go

Whatever is delivered twice, out of order or again after a crash ends the same, because the ledger
ends each reservation once. Whatever cannot be settled is kept in quarantine. What remains is to
come again: an entry is let go only when this function has returned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

from accesslog.backoff import Backoff
from accesslog.faults import fault_class
from accesslog.judge import Extension, Judged, Priced
from accesslog.logline import write_line
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.poison import Isolator, Poison
from accesslog.publish import Publisher
from accesslog.settings import SettleSettings
from billing.errors import Unavailable
from billing.ledger import SettledBatch
from billing.stores.protocol import HotStore, LedgerStore, QuarantineRow

POISON = "cannot_be_settled"
"""The reason of an entry that the ledger refuses by itself; its remark says why."""

MAX_REMARK_CHARS = 1_000


@dataclass(slots=True)
class Tally:
    """What became of entries; ``duplicates`` were settled before."""

    settled: int = 0
    released: int = 0
    late: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    charged_nanos: int = 0

    def add(self, batch: SettledBatch) -> None:
        """Count a committed batch."""
        self.settled += batch.settled
        self.released += batch.released
        self.late += batch.late
        self.duplicates += batch.duplicates
        self.conflicts += len(batch.conflicts)
        self.charged_nanos += batch.charged_nanos

    def merge(self, other: Tally) -> None:
        """Count what another tally counted."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Settler:
    """Settles judged batches; safe beside any number of others on the same ledger.

    ``now_us`` is Unix time in microseconds, ``now_s`` a clock that never goes back.
    """

    def __init__(
        self,
        ledger: LedgerStore,
        hot: HotStore,
        publisher: Publisher,
        *,
        settings: SettleSettings,
        backoff: Backoff,
        metrics: AccessLogMetrics,
        notices: Notices,
        now_us: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._hot = hot
        self._publisher = publisher
        self._backoff = backoff
        self._metrics = metrics
        self._notices = notices
        self._now_us = now_us
        self._now_s = now_s
        self._isolator = Isolator(
            settings=settings, backoff=backoff, metrics=metrics, notices=notices
        )

    async def settle(self, judged: Judged) -> Tally:
        """Settle, extend and set apart; returns when all of it is in the ledger."""
        self._metrics.judged(judged)
        tally = Tally()
        poison: list[Poison] = []
        for distinct in self._rounds(judged.priced, tally):
            poison += await self._isolator.settle(distinct, partial(self._commit, tally))
        await self._extend(judged)
        await self._quarantine([*judged.quarantine, *map(_quarantine_row, poison)], tally)
        return tally

    async def _commit(self, tally: Tally, batch: Sequence[Priced]) -> None:
        """One transaction, and telling of it."""
        settlements = [priced.settlement for priced in batch]
        began_s = self._now_s()
        settled = await self._ledger.settle(settlements, self._now_us())
        self._metrics.settle_s.observe(self._now_s() - began_s)
        self._metrics.settled(settled, settlements, self._now_us())
        tally.add(settled)
        for reservation_id in settled.conflicts:
            said = f"{reservation_id} came again with another content"
            self._notices.tell("conflict", said, request_id=reservation_id)
        await self._publisher.publish(settled)

    def _rounds(self, priced: Sequence[Priced], tally: Tally) -> Iterator[list[Priced]]:
        """Batches that name each reservation once; the same content twice is a duplicate.

        A reservation that comes with two contents is given to the ledger in two batches, so that
        the second is judged as a conflict wherever the first one was settled.
        """
        while priced:
            chosen: dict[str, Priced] = {}
            later = []
            for item in priced:
                first = chosen.setdefault(item.settlement.reservation_id, item)
                if first is item:
                    continue
                if first.settlement.content_hash() == item.settlement.content_hash():
                    self._metrics.duplicates.inc()
                    tally.duplicates += 1
                else:
                    later.append(item)
            yield list(chosen.values())
            priced = later

    async def _extend(self, judged: Judged) -> None:
        """Move the ends of life of streams that go on, in the ledger and then in the hot copy."""
        ended = {priced.settlement.reservation_id for priced in judged.priced}
        lives = _latest(e for e in judged.extensions if e.reservation_id not in ended)
        if not lives:
            return
        await self._until_answered(lambda: self._ledger.extend(lives))
        self._metrics.extended.inc(len(lives))
        try:
            await self._hot.extend(lives)
        except Unavailable as fault:
            # The next entry of the stream, or a copy built anew from Postgres, puts it right.
            self._notices.tell("extend_postponed", str(fault))

    async def _until_answered(self, call: Callable[[], Awaitable[None]]) -> None:
        """Try again for as long as the ledger does not answer."""
        while True:
            try:
                await call()
            except Unavailable as fault:
                word = fault_class(fault)
                self._metrics.retries.labels(word).inc()
                self._notices.tell(f"settle_{word}", str(fault))
                await self._backoff.wait()
            else:
                self._backoff.reset()
                return

    async def _quarantine(self, rows: Sequence[QuarantineRow], tally: Tally) -> None:
        """Keep what cannot be settled for a person."""
        if not rows:
            return
        await self._until_answered(lambda: self._ledger.quarantine(rows))
        tally.quarantined += len(rows)
        for row in rows:
            self._metrics.quarantined.labels(row.reason).inc()
            about = {"request_id": row.reservation_id, "account": row.account_id}
            known = {name: ident for name, ident in about.items() if ident is not None}
            said = f"reservation {row.reservation_id}"
            self._notices.tell(f"quarantine_{row.reason}", said, **known)


def _latest(extensions: Iterable[Extension]) -> list[Extension]:
    """One extension of each reservation, the one that reaches furthest."""
    latest: dict[str, Extension] = {}
    for extension in extensions:
        known = latest.get(extension.reservation_id)
        if known is None or known.expires_s < extension.expires_s:
            latest[extension.reservation_id] = extension
    return list(latest.values())


def _quarantine_row(poison: Poison) -> QuarantineRow:
    entry, settlement = poison.priced
    text = write_line(entry, remark=repr(poison.fault)[:MAX_REMARK_CHARS])
    return QuarantineRow(settlement.account_id, settlement.reservation_id, POISON, text)
