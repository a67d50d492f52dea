"""The ledger in Postgres on a bench: what it wrote is read with statements of the tests' own."""

from datetime import UTC, datetime
from typing import cast

import asyncpg

from billing.accounts import Order
from billing.ledger import LedgerCode, Transfer
from billing.plans import Period
from billing.reservations import State
from billing.stores.postgres_access import Connection
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_orders import OrderStamp, post_order
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.postgres_workers import PostgresWorkers
from billing.stores.settlement_rows import usage_line
from billing.subscriptions import Subscription
from tests.contract.ledger_bench import CHARGING_ROUTE, NOW_S, Event, Link

WORKER = "0198c0de-0000-7000-8000-0000000000ee"
DEADLINE_S = 20.0


class PostgresLedgerBench:
    """Ledger, truth and journal over one pool."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._orders = 0
        self.store = PostgresLedger(pool, DEADLINE_S, lambda route: route == CHARGING_ROUTE)
        self.truth = PostgresTruth(pool, DEADLINE_S)
        self.journal = PostgresWorkers(pool, WORKER, "authz", DEADLINE_S)

    async def open_account(self, account_id: str, overdraft_nanos: int = 0) -> None:
        await self._pool.execute(
            "INSERT INTO accounts (id, name, overdraft_nanos) VALUES ($1, $2, $3)",
            account_id,
            f"account {account_id}",
            overdraft_nanos,
        )
        await self._pool.execute(
            "INSERT INTO ledger_accounts (account_id, code) VALUES ($1, 'credits')", account_id
        )

    async def subscribe(
        self, account_id: str, subscription: Subscription, period: Period, billing_day: int
    ) -> None:
        await self._pool.execute(
            "INSERT INTO profiles (name) VALUES ($1) ON CONFLICT DO NOTHING", subscription.profile
        )
        await self._pool.execute(
            "INSERT INTO plans (name, definition, digest, applied_by)"
            " VALUES ($1, '{}', sha256('plan'), 'test') ON CONFLICT DO NOTHING",
            subscription.plan,
        )
        await self._pool.execute(
            "INSERT INTO subscriptions (account_id, profile, plan, period, billing_day,"
            " period_start, period_end) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            account_id,
            subscription.profile,
            subscription.plan,
            period,
            billing_day,
            datetime.fromtimestamp(subscription.period_start_s, UTC),
            datetime.fromtimestamp(subscription.period_end_s, UTC),
        )

    async def topup(self, account_id: str, amount_nanos: int, reference: str) -> bool:
        self._orders += 1
        order_id = f"0198c0de-0000-7000-8000-0002{self._orders:08x}"
        stamp = OrderStamp(order_id, "test", datetime.fromtimestamp(NOW_S, UTC))
        async with self._pool.acquire() as connection, connection.transaction():
            order = Order("topup", amount_nanos, reference)
            posted = await post_order(cast("Connection", connection), account_id, order, stamp)
        return not posted.repeated

    async def states(self) -> dict[str, State]:
        rows = await self._pool.fetch("SELECT id::text, state FROM reservations")
        return {row["id"]: row["state"] for row in rows}

    async def transfers(self) -> list[Transfer]:
        return sorted(transfer for _, transfer in await self._transfers())

    async def events(self) -> list[Event]:
        rows = await self._pool.fetch(
            "SELECT reservation_id::text, outcome, status, units, price_nanos, provider_cost_nanos"
            " FROM usage_events"
        )
        return sorted(Event(*row) for row in rows)

    async def daily(self) -> dict[tuple[str, int, str], tuple[int, int, int, int]]:
        rows = await self._pool.fetch(
            "SELECT account_id::text, extract(epoch FROM day)::bigint AS day_s, profile, requests,"
            " units, price_nanos, provider_cost_nanos FROM daily_usage"
        )
        return {
            (row["account_id"], row["day_s"], row["profile"]): (
                row["requests"],
                row["units"],
                row["price_nanos"],
                row["provider_cost_nanos"],
            )
            for row in rows
        }

    async def balances(self) -> dict[tuple[str, LedgerCode], tuple[int, int]]:
        rows = await self._pool.fetch(
            "SELECT account_id::text, code, debits, credits FROM ledger_accounts"
        )
        return {(row["account_id"], row["code"]): (row["debits"], row["credits"]) for row in rows}

    async def quarantined(self) -> list[tuple[str | None, str]]:
        rows = await self._pool.fetch("SELECT reservation_id::text, reason FROM quarantine")
        return sorted(((row["reservation_id"], row["reason"]) for row in rows), key=str)

    async def chain(self) -> list[Link]:
        batches = await self._pool.fetch("SELECT * FROM batches ORDER BY id")
        lines: dict[int, list[bytes]] = {batch["id"]: [] for batch in batches}
        for batch_id, transfer in await self._transfers():
            lines[batch_id].append(transfer.line())
        for batch_id, line in await self._event_lines():
            lines[batch_id].append(line)
        return [
            Link(row["id"], row["previous_hash"], row["hash"], tuple(lines[row["id"]]))
            for row in batches
        ]

    async def _transfers(self) -> list[tuple[int, Transfer]]:
        rows = await self._pool.fetch(
            "SELECT batch_id, account_id::text, source_id::text, kind, debit_code, credit_code,"
            " amount, created_us FROM transfers"
        )
        return [(row["batch_id"], Transfer(*tuple(row)[1:])) for row in rows]

    async def _event_lines(self) -> list[tuple[int, bytes]]:
        rows = await self._pool.fetch(
            "SELECT batch_id, account_id::text, reservation_id::text, key_id::text, profile, route,"
            " meter, model, price_version, outcome, status, units, price_nanos,"
            " provider_cost_nanos, held_nanos, quoted_nanos, review, formula, facts, admitted_us,"
            " completed_us, settled_us FROM usage_events"
        )
        return [(row["batch_id"], usage_line(tuple(row)[1:])) for row in rows]
