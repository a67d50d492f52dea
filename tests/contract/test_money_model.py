"""The model of money over real Postgres and Redis, single and as a Cluster of three masters."""

import itertools
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from billing.stores import redis_hot
from billing.stores.hot_layout import account_key
from billing.stores.redis_client import CLUSTER_SCHEME, RedisClient, connect
from billing.stores.redis_hot import RedisHotStore
from devstack import Postgres
from tests.contract.postgres_bench import PostgresLedgerBench
from tests.model.lease_walk import walk_leases
from tests.model.money_machine import check_money
from tests.model.money_values import NAMES, Installation

DEADLINE_S = 10.0
A_DAY_MS = 86_400_000
_numbers = itertools.count()


class RealInstallation:
    """A database of its own, and a Redis that was flushed."""

    def __init__(self, pool: asyncpg.Pool, clients: list[RedisClient]) -> None:
        self._pool = pool
        self._clients = clients
        tokens = (f"token-{number}" for number in itertools.count())
        self.workers = [
            RedisHotStore(client, lambda: next(tokens), DEADLINE_S) for client in clients
        ]
        self.ledger = PostgresLedgerBench(pool)

    async def flush(self) -> None:
        await self._clients[0].flushall()

    async def rest(self) -> None:
        """What is being loaded is not; leases were called back long ago."""
        client = self._clients[0]
        for name in NAMES:
            key = account_key(name)
            if await client.hexists(key, "l"):
                await client.delete(key)
            await client.hdel(key, "r")

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        await self._pool.close()


def installer(
    server: Postgres, template: str, redis_url: str
) -> Callable[[], Awaitable[Installation]]:
    """Makes an installation for each example: a copy of the migrated database, an empty Redis."""

    async def install() -> Installation:
        name = f"model_{next(_numbers)}"
        connection = await asyncpg.connect(server.dsn())
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        await connection.close()
        pool = await asyncpg.create_pool(server.dsn(name), min_size=1, max_size=2)
        installation = RealInstallation(pool, [connect(redis_url, DEADLINE_S) for _ in range(2)])
        await installation.flush()
        return installation

    return install


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call-back of leases lasts until the model says that it is over."""
    for name in ("CALL_BACK_MS", "PAUSE_MS"):
        monkeypatch.setattr(redis_hot, name, A_DAY_MS)


def url_of(request: pytest.FixtureRequest, place: str) -> str:
    """Where the hot copy is."""
    url: str = request.getfixturevalue(f"{place}_url")
    return url.replace("redis://", CLUSTER_SCHEME) if place == "redis_cluster" else url


@pytest.mark.parametrize(("place", "examples"), [("redis", 8), ("redis_cluster", 4)])
def test_money_stays_exact_in_postgres_and_redis(
    request: pytest.FixtureRequest,
    postgres_server: Postgres,
    template_database: str,
    place: str,
    examples: int,
) -> None:
    """Whatever happens, in any order, Postgres and Redis are what plain integers say."""
    check_money(
        installer(postgres_server, template_database, url_of(request, place)),
        settings(
            max_examples=examples,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_walk_through_all_that_leases_live_through(
    request: pytest.FixtureRequest, postgres_server: Postgres, template_database: str
) -> None:
    """Lost calls, early ends, call-backs, copies built behind them, silence and death, in order."""
    install = installer(postgres_server, template_database, url_of(request, "redis"))
    assert not walk_leases(install)
