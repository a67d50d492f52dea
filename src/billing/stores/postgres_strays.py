"""Stray holds in Postgres (:mod:`billing.sweep`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from billing.reservations import Truth, parse_record
from billing.stores.postgres_faults import postgres_faults
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.queries import load_queries
from billing.sweep import Stray

SQL = load_queries("workers.sql")


class PostgresStrays:
    """:class:`billing.sweep.StrayStore` over a pool; ``deadline_s`` bounds each statement."""

    def __init__(self, pool: asyncpg.Pool, deadline_s: float = 10.0) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._truth = PostgresTruth(pool, deadline_s)

    async def adopt(self, strays: Sequence[Stray]) -> Sequence[Stray]:
        """Enter those that are unknown as pending and overdue; return those that have ended."""
        with postgres_faults("adopt"):
            rows = await self._pool.fetch(
                SQL["adopt"],
                [s.account_id for s in strays],
                [s.reservation_id for s in strays],
                [parse_record(s.record).amount_nanos for s in strays],
                [s.record for s in strays],
                timeout=self._deadline_s,
            )
        ended = {(row["account_id"], row["id"]) for row in rows}
        return [s for s in strays if (s.account_id, s.reservation_id) in ended]

    async def truth(self, account_ids: Sequence[str], now_s: float) -> Mapping[str, Truth]:
        """Accounts as one snapshot has them."""
        return await self._truth.truth(account_ids, now_s)
