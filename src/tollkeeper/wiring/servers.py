"""Connections of one process to Postgres and Redis, opened together and closed together."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from billing.errors import StoreUnavailable
from billing.stores.redis_client import IdentityGuard, RedisClient, connect
from billing.stores.redis_hot import RedisHotStore
from billing.stores.redis_server import RedisServer
from billing.stores.redis_signal import RedisSpoolSignal
from tollkeeper.settings import Settings

IDLE_IN_TRANSACTION_MS = 5_000
"""A process that stops in the middle of a transaction must not hold the ledger's lock for
longer."""
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Servers:
    """What one process has opened. ``name`` is how Postgres lists its sessions."""

    name: str
    dsn: str
    pool: asyncpg.Pool
    hot: RedisHotStore
    hot_server: RedisServer
    spool_signal: RedisSpoolSignal


@asynccontextmanager
async def open_servers(
    settings: Settings, worker_id: str, redis_deadline_s: float | None = None
) -> AsyncIterator[Servers]:
    """Connect; raises ``StoreUnavailable`` with what to look at when Postgres does not answer.

    Redis may be away at the start: it is connected to when it is first needed. Its deadline is that
    of a check unless another one is given: nobody waits for what is told after settlement.
    """
    name = f"tollkeeper {worker_id}"
    dsn = settings.require_postgres_dsn()
    pool = await _open_pool(settings, dsn, name)
    guard = IdentityGuard()
    deadline_s = redis_deadline_s or settings.redis_deadline_ms / 1000
    client = _client(settings, deadline_s, guard)
    probe = _client(settings, max(deadline_s, 0.5), None)
    try:
        yield Servers(
            name,
            dsn,
            pool,
            RedisHotStore(client, _tokens(worker_id), deadline_s),
            RedisServer(probe, guard),
            RedisSpoolSignal(probe),
        )
    finally:
        await client.aclose()
        await probe.aclose()
        await pool.close()


async def _open_pool(settings: Settings, dsn: str, name: str) -> asyncpg.Pool:
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=settings.postgres_pool_connections,
            timeout=CONNECT_TIMEOUT_S,
            reset=_as_it_is,
            server_settings={
                "application_name": name,
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(
            f"Postgres does not answer ({error}); check TOLLKEEPER_POSTGRES_DSN"
        ) from error


async def _as_it_is(_connection: object) -> None:
    """Give a session back without the four statements that would clear it.

    Ours leave nothing in it: what they set ends with their transaction, and an open transaction is
    rolled back all the same.
    """


def _client(settings: Settings, deadline_s: float, guard: IdentityGuard | None) -> RedisClient:
    return connect(
        settings.require_redis_url(),
        deadline_s,
        max_connections=settings.redis_pool_connections,
        guard=guard,
    )


def _tokens(worker_id: str) -> Callable[[], str]:
    """Texts that no other asker makes: the worker and a number."""
    numbers = itertools.count()
    return lambda: f"{worker_id}:{next(numbers)}"
