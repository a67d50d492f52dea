"""What Postgres says, for the hot copy: snapshots of accounts, and promises of publication to
keep."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

import asyncpg

from billing.reservations import Publication, Truth, Used, publication_of
from billing.stores.postgres_faults import postgres_faults
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import period_budgets

SQL = load_queries("ledger.sql")


class PostgresTruth:
    """:class:`billing.stores.protocol.TruthStore` over a pool; ``deadline_s`` bounds each
    statement."""

    def __init__(self, pool: asyncpg.Pool, deadline_s: float = 5.0) -> None:
        self._pool = pool
        self._deadline_s = deadline_s

    async def truth(self, account_ids: Sequence[str], now_s: float) -> Mapping[str, Truth]:
        """Accounts as one snapshot has them, pending reservations included."""
        with postgres_faults("truth"):
            rows = await self._pool.fetch(
                SQL["truth"], list(account_ids), now_s, timeout=self._deadline_s
            )
        return {row["account_id"]: _truth(row) for row in rows}

    async def kept(self, batch_ids: Sequence[int]) -> None:
        """The hot copy was told of these batches."""
        with postgres_faults("kept"):
            await self._pool.execute(SQL["keep_promise"], list(batch_ids), timeout=self._deadline_s)

    async def promises(
        self, older_than_s: float, at_most: int, now_s: float
    ) -> Mapping[int, Sequence[Publication]]:
        """Batches that were committed and never told of, with what to tell now, in full."""
        with postgres_faults("promises"):
            rows = await self._pool.fetch(
                SQL["open_promises"],
                timedelta(seconds=older_than_s),
                at_most,
                timeout=self._deadline_s,
            )
        return {row["batch_id"]: await self._publications(row, now_s) for row in rows}

    async def _publications(self, row: asyncpg.Record, now_s: float) -> Sequence[Publication]:
        with postgres_faults("promises"):
            ended = await self._pool.fetch(
                SQL["ended_accounts"], row["account_ids"], row["ended"], timeout=self._deadline_s
            )
        by_account: dict[str, list[str]] = defaultdict(list)
        for end in ended:
            by_account[end["account_id"]].append(end["id"])
        truths = await self.truth(row["account_ids"], now_s)
        return [
            publication_of(truth, tuple(by_account[account])) for account, truth in truths.items()
        ]


def _truth(row: asyncpg.Record) -> Truth:
    used = [
        budget
        for profile, start_s, units, spent in json.loads(row["periods"] or "[]")
        for budget in period_budgets(profile, start_s, units, spent)
    ]
    for profile, day_s, spent in json.loads(row["days"] or "[]"):
        used.append(Used(f"day:{profile}", day_s, spent))
    pending = [(ident, record) for ident, record in json.loads(row["pending"] or "[]")]
    return Truth(
        row["account_id"], row["posted"], row["overdraft_nanos"], row["version"], used, pending
    )
