"""The journal: admitted reservations on their way to Postgres, a moment after they were admitted.

The front door does not wait for it. What is in the buffer when the process dies is still held in
the hot copy and still travels in the ticket; what is journaled can be rebuilt, listed and expired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from billing.errors import InvalidInput, StoreUnavailable
from billing.reservations import JournalRow
from billing.stores.protocol import WorkerStore


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """``interval_s``: how long a row waits; short, because a barrier and a list want it soon.

    ``batch_rows``: rows per statement at most, about 1 MB. A flush is written in four statements,
    or in such of ``piece_rows`` where that is fewer: no check is answered while a statement is put
    together, which takes 5 us for each row. ``max_rows``: what may wait while Postgres is away,
    about 100 MB; beyond it nothing is admitted, because it could not be accounted for.
    """

    interval_s: float = 0.1
    batch_rows: int = 2_000
    piece_rows: int = 64
    max_rows: int = 200_000
    retry_s: float = 0.5


class Journal:
    """One worker's buffer. ``report`` hears of rows that can never be written."""

    def __init__(
        self,
        store: WorkerStore,
        report: Callable[[str, JournalRow], None],
        limits: JournalLimits | None = None,
    ) -> None:
        self._store = store
        self._report = report
        self._limits = limits or JournalLimits()
        self._rows: list[JournalRow] = []
        self._abandoned: list[tuple[str, str]] = []
        self._flushing = asyncio.Lock()

    @property
    def depth(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    @property
    def has_room(self) -> bool:
        return len(self._rows) < self._limits.max_rows

    def add(self, row: JournalRow) -> None:
        """Take a reservation that was admitted just now; never blocks."""
        self._rows.append(row)

    def abandon(self, account_id: str, reservation_id: str, expires_s: int) -> None:
        """An admitted request will not run, because its caller left: let its hold end soon."""
        for index in range(len(self._rows) - 1, -1, -1):
            if self._rows[index].reservation_id == reservation_id:
                self._rows[index] = self._rows[index]._replace(expires_s=expires_s)
                return
        self._abandoned.append((account_id, reservation_id))

    async def flush(self) -> None:
        """Write all rows that wait now; raises ``StoreUnavailable`` and keeps what was not
        written."""
        async with self._flushing:
            rows, self._rows = self._rows, []
            written, limits = 0, self._limits
            piece = min(limits.batch_rows, max(limits.piece_rows, -(-len(rows) // 4)))
            try:
                while written < len(rows):
                    await self._write(rows[written : written + piece])
                    written += piece
            finally:
                self._rows[:0] = rows[written:]
            if self._abandoned:
                abandoned = self._abandoned
                await self._store.abandon(abandoned)
                self._abandoned = self._abandoned[len(abandoned) :]

    async def _write(self, rows: list[JournalRow]) -> None:
        try:
            await self._store.record(rows)
        except InvalidInput as error:
            if len(rows) == 1:
                self._report(str(error), rows[0])
                return
            middle = len(rows) // 2
            await self._write(rows[:middle])
            await self._write(rows[middle:])

    async def run(self) -> None:
        """Flush for ever; Postgres being away only delays it."""
        while True:
            await asyncio.sleep(self._limits.interval_s)
            try:
                await self.flush()
            except StoreUnavailable:
                await asyncio.sleep(self._limits.retry_s)
