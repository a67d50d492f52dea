"""Workers of the front door in Postgres: their journal, the barrier before a copy is built, the
epoch.

A copy of an account may be built only from a snapshot that holds every reservation admitted before.
Workers journal in batches, a moment after admitting; so whoever builds a copy first asks all live
workers to flush, and waits until each has said so (*barrier*). A worker counts as live while its
heartbeat is fresh; one whose session stands but which is stopped is waited for a little longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from billing.errors import StoreUnavailable
from billing.reservations import JournalRow
from billing.stores.postgres_faults import postgres_faults
from billing.stores.protocol import Epoch
from billing.stores.queries import load_queries

SQL = load_queries("workers.sql")
HEARTBEAT_S = 0.5
FRESH = timedelta(seconds=1.5)
"""Three heartbeats: a worker that missed them and has no session is gone."""
STOPPED = timedelta(seconds=4)
"""A worker with a session but no heartbeat for so long is stopped and is not waited for."""
BARRIER_POLL_S = 0.003
ASK_AGAIN_POLLS = 60


class PostgresWorkers:
    """One worker's side of the table ``workers``; ``deadline_s`` bounds each statement."""

    def __init__(
        self, pool: asyncpg.Pool, worker_id: str, role: str, deadline_s: float = 5.0
    ) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._role = role
        self._deadline_s = deadline_s

    async def register(self) -> None:
        """Enter the table, so that others wait for this worker's journal."""
        await self._run("forget_dead")
        await self._run("register", self._worker_id, self._role)

    async def heartbeat(self) -> None:
        """Say that this worker lives; who was taken for dead long ago enters the table anew."""
        if await self._run("heartbeat", self._worker_id) == "UPDATE 0":
            await self._run("register", self._worker_id, self._role)

    async def leave(self) -> None:
        """Leave the table; the journal must be flushed by then."""
        await self._run("leave", self._worker_id)

    async def record(self, rows: Sequence[JournalRow]) -> None:
        """Write reservations as pending; those already known, or ended, stay as they are."""
        if rows:
            await self._run("journal", *map(list, zip(*rows, strict=True)))

    async def abandon(self, keys: Sequence[tuple[str, str]]) -> None:
        """Let pending reservations (account, id) end with the next expiry."""
        await self._run("abandon", [account for account, _ in keys], [ident for _, ident in keys])

    async def flushed(self, at: str) -> None:
        """All that this worker admitted before the barrier of that time is journaled."""
        await self._run("flushed", self._worker_id, datetime.fromisoformat(at))

    async def barrier(self, timeout_s: float) -> None:
        """Wait until every other live worker has flushed what it admitted before now."""
        with postgres_faults("barrier"):
            async with (
                asyncio.timeout(timeout_s),
                self._pool.acquire(timeout=self._deadline_s) as connection,
            ):
                row = await connection.fetchrow(
                    SQL["begin_barrier"], self._worker_id, FRESH, STOPPED
                )
                assert row is not None, "a sum is one row"
                (since, unflushed), polls = row, 0
                while unflushed:
                    if polls % ASK_AGAIN_POLLS == 0:  # who did not listen yet hears it later
                        await connection.execute(SQL["ask_for_flush"], since)
                    polls += 1
                    await asyncio.sleep(BARRIER_POLL_S)
                    unflushed = await connection.fetchval(
                        SQL["unflushed"], self._worker_id, since, FRESH, STOPPED
                    )

    async def epoch(self) -> Epoch:
        """The epoch in force."""
        with postgres_faults("epoch"):
            row = await self._pool.fetchrow(SQL["epoch"], timeout=self._deadline_s)
        assert row is not None, "the epoch is one row, made by the migration"
        return Epoch(*row)

    async def raise_epoch(self, seen: Epoch, identity: str, reason: str) -> Epoch:
        """Declare all copies void; of several workers that see the same, one does it."""
        with postgres_faults("raise epoch"):
            await self._pool.fetch(
                SQL["raise_epoch"],
                seen.number,
                seen.identity,
                identity,
                reason,
                timeout=self._deadline_s,
            )
        return await self.epoch()

    async def chain_end(self) -> int:
        """The id of the last batch of the ledger."""
        with postgres_faults("chain end"):
            batch_id = await self._pool.fetchval(SQL["chain_end"], timeout=self._deadline_s)
        if not isinstance(batch_id, int):
            raise StoreUnavailable("the ledger has no chain; run `tollkeeper migrate`")
        return batch_id

    async def _run(self, statement: str, *args: object) -> str:
        with postgres_faults(statement):
            done = await self._pool.execute(SQL[statement], *args, timeout=self._deadline_s)
        return str(done)
