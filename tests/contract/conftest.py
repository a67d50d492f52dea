"""Stores on a bench, each behind the same port: memory and the real ones."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from billing.stores.redis_client import CLUSTER_SCHEME, connect
from devstack import Postgres, free_port
from tests.contract.hot_bench import DEADLINE_S, WORKERS, HotBench, memory_bench, redis_bench
from tests.contract.ledger_bench import PAID, A, B, LedgerBench, MemoryLedgerBench
from tests.contract.postgres_bench import PostgresLedgerBench
from tests.contract.principal_bench import (
    MemoryPrincipalBench,
    PostgresPrincipalBench,
    PrincipalBench,
)
from tests.databases import MIGRATED, fresh_database, make_template


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lasting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A Postgres that loses nothing in a crash of the machine, which is what the doctor asks for
    and other tests do without."""
    async with Postgres(tmp_path_factory.mktemp("lasting")) as server:
        await make_template(server)
        yield server


@pytest.fixture
async def lasting_database(lasting: Postgres) -> AsyncIterator[str]:
    """A migrated database of the test's own there."""
    async with fresh_database(lasting, MIGRATED) as dsn:
        yield dsn


@pytest.fixture(params=["memory", "redis", "redis_cluster"])
def hot_place(request: pytest.FixtureRequest) -> str:
    """The URL of the hot copy, empty for memory."""
    if request.param == "memory":
        return ""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url.replace("redis://", CLUSTER_SCHEME) if "cluster" in request.param else url


@pytest.fixture
async def hot(hot_place: str) -> AsyncIterator[HotBench]:
    """A flushed hot copy."""
    tokens = (f"token-{number}" for number in itertools.count())
    if not hot_place:
        yield memory_bench(lambda: next(tokens))
        return
    clients = [connect(hot_place, DEADLINE_S) for _ in range(WORKERS)]
    nobody = connect(f"redis://127.0.0.1:{free_port()}/0", DEADLINE_S)
    yield redis_bench(clients, nobody, lambda: next(tokens))
    for client in (*clients, nobody):
        await client.aclose()


@pytest.fixture(params=["memory", "postgres"])
def ledger_place(request: pytest.FixtureRequest) -> str:
    """The DSN of the ledger, empty for memory."""
    return "" if request.param == "memory" else request.getfixturevalue("database")


@pytest.fixture
async def ledger(ledger_place: str) -> AsyncIterator[LedgerBench]:
    """An empty ledger."""
    if not ledger_place:
        yield MemoryLedgerBench()
        return
    async with asyncpg.create_pool(ledger_place, min_size=1, max_size=8) as pool:
        yield PostgresLedgerBench(pool)


@pytest.fixture
async def paid_accounts(ledger: LedgerBench) -> None:
    """Two accounts; A may overdraw a little and has paid in."""
    await ledger.open_account(A, overdraft_nanos=50)
    await ledger.open_account(B)
    await ledger.topup(A, PAID, "first")


@pytest.fixture(params=["memory", "postgres"])
def principals_place(request: pytest.FixtureRequest) -> str:
    """The DSN of the store of principals, empty for memory."""
    return "" if request.param == "memory" else request.getfixturevalue("database")


@pytest.fixture
async def principals(principals_place: str) -> AsyncIterator[PrincipalBench]:
    """An empty store of principals, and one whose server is not there."""
    if not principals_place:
        yield MemoryPrincipalBench()
        return
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/nobody"
    async with (
        asyncpg.create_pool(nowhere, min_size=0, max_size=1) as nobody,
        asyncpg.create_pool(principals_place, min_size=1, max_size=4) as pool,
    ):
        yield PostgresPrincipalBench(pool, principals_place, nobody)
