"""Workers, their barrier and the epoch in memory: one office, in which several workers sit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from billing.errors import StoreUnavailable
from billing.reservations import JournalRow
from billing.stores.memory_ledger import MemoryLedgerStore
from billing.stores.protocol import Change, Epoch

Tell = Callable[[Change], Awaitable[None]]


class MemoryOffice:
    """What all workers of one installation share. ``ledger`` is where their journals go.

    While ``away`` is set every call raises ``StoreUnavailable``.
    """

    def __init__(self, ledger: MemoryLedgerStore) -> None:
        self.ledger = ledger
        self.epoch = Epoch(1, "")
        self.reasons: list[str] = []
        self.flushed: dict[str, int] = {}
        self.listeners: dict[str, Tell] = {}
        self.barriers = 0
        self.away = False

    def reach(self) -> None:
        """Raise when nobody answers."""
        if self.away:
            raise StoreUnavailable("the office does not answer")


class MemoryWorkers:
    """:class:`billing.stores.protocol.WorkerStore` of one worker in an office."""

    def __init__(self, office: MemoryOffice, worker_id: str) -> None:
        self._office = office
        self._worker_id = worker_id

    async def register(self) -> None:
        """Take a seat."""
        self._office.reach()
        self._office.flushed.setdefault(self._worker_id, 0)

    async def heartbeat(self) -> None:
        """Seats do not go cold here."""
        self._office.reach()

    async def leave(self) -> None:
        """Give the seat up."""
        self._office.reach()
        self._office.flushed.pop(self._worker_id, None)

    async def record(self, rows: Sequence[JournalRow]) -> None:
        """Journal into the ledger."""
        self._office.reach()
        await self._office.ledger.record(rows)

    async def abandon(self, keys: Sequence[tuple[str, str]]) -> None:
        """Let pending reservations (account, id) end with the next expiry."""
        self._office.reach()
        for key in keys:
            self._office.ledger.register.abandon(key)

    async def flushed(self, at: str) -> None:
        """This worker has journaled all that it admitted before that barrier."""
        self._office.reach()
        self._office.flushed[self._worker_id] = int(at)

    async def barrier(self, timeout_s: float) -> None:
        """Tell the others, and wait until each has flushed.

        ``StoreUnavailable`` when one does not in time.
        """
        office = self._office
        office.reach()
        office.barriers += 1
        number = office.barriers
        others = [worker for worker in office.flushed if worker != self._worker_id]
        try:
            async with asyncio.timeout(timeout_s):
                for other in others:
                    if other in office.listeners:
                        await office.listeners[other](Change("barrier", detail=str(number)))
                while any(office.flushed.get(other, number) < number for other in others):
                    await asyncio.sleep(0)
        except TimeoutError as error:
            raise StoreUnavailable("barrier: a worker did not flush in time") from error

    async def epoch(self) -> Epoch:
        """The epoch in force."""
        self._office.reach()
        return self._office.epoch

    async def raise_epoch(self, seen: Epoch, identity: str, reason: str) -> Epoch:
        """Raise it if nobody did since."""
        self._office.reach()
        if self._office.epoch == seen:
            self._office.epoch = Epoch(seen.number + 1, identity)
            self._office.reasons.append(reason)
        return self._office.epoch

    async def chain_end(self) -> int:
        """The id of the last batch of the ledger."""
        self._office.reach()
        return len(self._office.ledger.books.batches)
