"""What the ledger says of one customer, and that it says exactly what a story expects.

Settlement is asynchronous: a reading is repeated until everything that was admitted has ended and
Redis says the same as Postgres, or until the deadline, and then compared as a whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg

from billing.ledger import CHART
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from tollkeeper.ledger_hot_check import differences
from tollkeeper.settings import Settings
from tollkeeper.stack.customers import Customer

DEADLINE_S = 10.0
POLL_S = 0.05

SNAPSHOT_SQL = {
    "events": """SELECT reservation_id::text, route, outcome, status, units, price_nanos,
            provider_cost_nanos, review, held_nanos, formula, facts
        FROM usage_events WHERE account_id = $1 ORDER BY reservation_id""",
    "transfers": """SELECT source_id::text, kind, debit_code, credit_code, amount
        FROM transfers WHERE account_id = $1""",
    "states": "SELECT id::text, state FROM reservations WHERE account_id = $1",
    "posted": """SELECT (credits - debits)::bigint AS posted FROM ledger_accounts
        WHERE account_id = $1 AND code = 'credits'""",
    "daily": """SELECT coalesce(sum(requests), 0)::bigint AS requests,
            coalesce(sum(units), 0)::bigint AS units,
            coalesce(sum(price_nanos), 0)::bigint AS price
        FROM daily_usage WHERE account_id = $1""",
    "period": """SELECT coalesce(sum(units_used), 0)::bigint AS units,
            coalesce(sum(spent_nanos), 0)::bigint AS price
        FROM subscriptions WHERE account_id = $1""",
    "quarantine": "SELECT reason FROM quarantine WHERE account_id = $1 ORDER BY id",
}


class Paid(NamedTuple):
    """One usage event as a story expects it."""

    route: str
    price_nanos: int
    units: int
    provider_cost_nanos: int | None = None
    outcome: str = "answered"
    status: str = "billed"
    review: str = ""


@dataclass(frozen=True)
class Reading:
    """Everything that Postgres and Redis say of one account at one moment."""

    events: Sequence[asyncpg.Record]
    transfers: Sequence[asyncpg.Record]
    states: Counter[str]
    posted_nanos: int
    daily: tuple[int, int, int]
    period: tuple[int, int]
    quarantine: Sequence[str]
    redis: Sequence[str]
    """How Redis differs from Postgres, live reservations included; nothing when it does not."""

    @property
    def is_quiet(self) -> bool:
        return not self.states["pending"] and not self.redis


class Books:
    """Reads the ledger of a running stack."""

    def __init__(self, pool: asyncpg.Pool, hot: RedisHotStore) -> None:
        self.pool = pool
        self.hot = hot
        self.truth = PostgresTruth(pool)

    async def read(self, account_id: str) -> Reading:
        """One reading, in one snapshot of Postgres, and Redis right before it."""
        copies = await self.hot.read([account_id])
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read"),
        ):
            rows = {
                name: await connection.fetch(sql, account_id) for name, sql in SNAPSHOT_SQL.items()
            }
        truth = (await self.truth.truth([account_id], time.time())).get(account_id)
        copy = copies.get(account_id)
        redis = [] if copy is None else list(differences(copy, truth))
        redis += [f"{ident} is held" for ident, _ in ([] if copy is None else copy.pending)]
        return Reading(
            events=rows["events"],
            transfers=rows["transfers"],
            states=Counter(row["state"] for row in rows["states"]),
            posted_nanos=rows["posted"][0]["posted"] if rows["posted"] else 0,
            daily=tuple(rows["daily"][0]),
            period=tuple(rows["period"][0]),
            quarantine=[row["reason"] for row in rows["quarantine"]],
            redis=redis,
        )

    async def settled(self, customer: Customer, admitted: int) -> Reading:
        """The reading once so many reservations have ended; the last one at the deadline."""
        return await self._until(
            customer, lambda found: found.is_quiet and found.states.total() >= admitted
        )

    async def journaled(self, customer: Customer, pending: int) -> Reading:
        """The reading once Postgres knows of so many reservations that go on."""
        return await self._until(customer, lambda found: found.states["pending"] >= pending)

    async def _until(self, customer: Customer, done: Callable[[Reading], bool]) -> Reading:
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            reading = await self.read(customer.account_id)
            if done(reading) or time.monotonic() > deadline_s:
                return reading
            await asyncio.sleep(POLL_S)

    async def expect(
        self, customer: Customer, paid_in_nanos: int, *events: Paid, released: int = 0
    ) -> Reading:
        """Assert, to the last nano-USD, that exactly these requests were recorded and paid.

        ``events`` stand in the order of admission. ``released`` is how many further requests were
        admitted and ended without a charge.
        """
        reading = await self.settled(customer, len(events) + released)
        assert reading.redis == []
        assert [_event(row) for row in reading.events] == list(events)
        ends = Counter({"settled": len(events), "released": released})
        assert reading.states == +ends
        assert Counter(_moved(row) for row in reading.transfers) == _moves(paid_in_nanos, events)
        price = sum(event.price_nanos for event in events)
        units = sum(event.units for event in events)
        assert reading.posted_nanos == paid_in_nanos - price
        assert reading.daily == (len(events), units, price)
        assert reading.period == (units, price)
        assert reading.quarantine == []
        return reading


@asynccontextmanager
async def open_books(settings: Settings) -> AsyncIterator[Books]:
    """Books over connections of their own."""
    client = connect(settings.require_redis_url(), deadline_s=2.0)
    async with asyncpg.create_pool(settings.require_postgres_dsn(), min_size=1, max_size=4) as pool:
        try:
            yield Books(pool, RedisHotStore(client, lambda: "books", deadline_s=2.0))
        finally:
            await client.aclose()


def _event(row: asyncpg.Record) -> Paid:
    return Paid(
        row["route"],
        row["price_nanos"],
        row["units"],
        row["provider_cost_nanos"],
        row["outcome"],
        row["status"],
        row["review"],
    )


def _moved(row: asyncpg.Record) -> tuple[Any, ...]:
    return (row["kind"], row["debit_code"], row["credit_code"], row["amount"])


def _moves(paid_in_nanos: int, events: Sequence[Paid]) -> Counter[tuple[Any, ...]]:
    """The transfers of a top-up and of these events: one for each amount above zero."""
    moves: Counter[tuple[Any, ...]] = Counter()
    if paid_in_nanos:
        moves["topup", *CHART["topup"], paid_in_nanos] += 1
    for event in events:
        if event.price_nanos:
            moves["charge", *CHART["charge"], event.price_nanos] += 1
        if event.provider_cost_nanos:
            moves["cost", *CHART["cost"], event.provider_cost_nanos] += 1
    return moves
