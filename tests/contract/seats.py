"""Workers of one installation on a bench: where they sit, and how they hear of a barrier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import asyncpg

from billing.stores.memory_workers import MemoryOffice, MemoryWorkers
from billing.stores.postgres_workers import PostgresWorkers
from billing.stores.protocol import Change, WorkerStore
from tests.contract.ledger_bench import LedgerBench, MemoryLedgerBench
from tests.contract.postgres_bench import DEADLINE_S, PostgresLedgerBench

Heard = Callable[[str], Awaitable[None]]


class Seats(Protocol):
    """Workers beside a ledger."""

    ledger: LedgerBench

    def seat(self, number: int) -> WorkerStore:
        """The store of one worker."""

    def listening(self, number: int, heard: Heard) -> AbstractAsyncContextManager[None]:
        """Inside, ``heard`` is told the detail of each barrier, as that worker is."""


def ident(number: int) -> str:
    """The id of a worker."""
    return f"0198c0de-0000-7000-8000-0003{number:08x}"


class MemorySeats:
    """Workers of an office in memory."""

    def __init__(self, ledger: MemoryLedgerBench) -> None:
        self.ledger: LedgerBench = ledger
        self._office = MemoryOffice(ledger.store)

    def seat(self, number: int) -> WorkerStore:
        return MemoryWorkers(self._office, ident(number))

    @asynccontextmanager
    async def listening(self, number: int, heard: Heard) -> AsyncIterator[None]:
        async def tell(change: Change) -> None:
            await heard(change.detail)

        self._office.listeners[ident(number)] = tell
        yield
        del self._office.listeners[ident(number)]


class PostgresSeats:
    """Workers over one pool."""

    def __init__(self, ledger: PostgresLedgerBench, pool: asyncpg.Pool) -> None:
        self.ledger: LedgerBench = ledger
        self._pool = pool

    def seat(self, number: int) -> WorkerStore:
        return PostgresWorkers(self._pool, ident(number), "authz", DEADLINE_S)

    @asynccontextmanager
    async def listening(self, number: int, heard: Heard) -> AsyncIterator[None]:
        del number  # everybody listens to one channel

        async def tell(*told: object) -> None:
            kind, _, detail = str(told[3]).partition(" ")
            if kind == "barrier":
                await heard(detail)

        async with self._pool.acquire() as connection:
            await connection.add_listener("tollkeeper_changes", tell)
            yield
            await connection.remove_listener("tollkeeper_changes", tell)
