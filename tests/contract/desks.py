"""A desk over a test's own database, with a clock that the test moves, and things to sell on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random

import asyncpg

from billing.accounts import Account, NewAccount, Terms
from billing.stores.postgres_access import Pool, PostgresAccess, open_pool
from billing.stores.postgres_audit import Actor
from billing.stores.postgres_catalog import (
    Definitions,
    PlanDefinition,
    PriceDefinition,
    apply_definitions,
)
from tollkeeper.operations.accounts import create_account
from tollkeeper.operations.desk import Desk, new_id
from tollkeeper.operations.orders import topup
from tollkeeper.operations.subscriptions import set_subscription

ANNA = Actor("anna", "cli")
START = datetime(2026, 3, 10, 12, tzinfo=UTC)
STATEMENT_S = 30.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, by: timedelta) -> None:
        self.now += by


@dataclass(frozen=True)
class Office:
    """A desk with its clock, over a pool that tests may use for statements of their own."""

    desk: Desk
    clock: Clock
    pool: Pool

    async def account(self, name: str = "acme", *, paid_nanos: int = 0) -> Account:
        """A new account, topped up once if there is something to pay in."""
        async with self.desk.act(ANNA, "test") as act:
            account = await create_account(act, NewAccount(name))
            if paid_nanos:
                await topup(act, account.id, paid_nanos, "first")
        return account

    async def sells(self, *profiles: str) -> None:
        """Apply plans ``pro`` (monthly) and ``trial`` (daily), a price version, these profiles."""
        async with self.desk.act(ANNA, "test") as act:
            await apply_definitions(act.connection, catalog_of(*profiles), act.actor.name, act.now)

    async def subscribes(self, account: Account, profile: str = "llm", plan: str = "pro") -> None:
        """Subscribe an account to a profile that is sold."""
        async with self.desk.act(ANNA, "test") as act:
            await set_subscription(act, account.id, profile, Terms(plan))


def catalog_of(*profiles: str, price: int = 1) -> Definitions:
    """Two plans and the price version ``v1`` whose content depends on ``price``."""
    return Definitions(
        profiles,
        [plan_of("pro", "month"), plan_of("trial", "day")],
        [price_of("v1", START - timedelta(days=100), price)],
    )


def plan_of(name: str, period: str) -> PlanDefinition:
    content = {"period": period, "limits": {}}
    return PlanDefinition(name, content, _digest(content))


def price_of(version: str, effective_from: datetime, price: int) -> PriceDefinition:
    content = {"version": version, "tariffs": {"flat": {"meter": "flat", "price": price}}}
    return PriceDefinition(version, effective_from, content, _digest(content))


def _digest(content: object) -> bytes:
    return sha256(json.dumps(content, sort_keys=True).encode()).digest()


@asynccontextmanager
async def open_office(dsn: str, connections: int = 4) -> AsyncIterator[Office]:
    """A desk over the database; keys and tokens come from a seeded source of chance."""
    pool = await open_pool(dsn, connections, STATEMENT_S)
    clock = Clock()
    try:
        yield Office(Desk(PostgresAccess(pool), clock, new_id, Random(7).choice), clock, pool)
    finally:
        await pool.close()


@asynccontextmanager
async def heard(dsn: str) -> AsyncIterator[asyncio.Queue[str]]:
    """What is told on the channel of changes while the block runs."""
    news: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(dsn)
    await connection.add_listener("tollkeeper_changes", lambda *told: news.put_nowait(str(told[3])))
    try:
        yield news
    finally:
        await connection.close()
