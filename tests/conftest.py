"""Real servers for the tests that want them, each started once, when a test first asks for it; and
how many examples a property is tried on."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import settings

from devstack import Postgres, Redis, RedisCluster
from devstack.resp import ask

TEMPLATE = "tollkeeper_template"
_numbers = itertools.count()

settings.register_profile("short", max_examples=10, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=100, derandomize=True, deadline=None)
# `make test` of everything asks for the thorough one: --hypothesis-profile=thorough
settings.load_profile("short")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A running Postgres without any database of ours."""
    async with Postgres(tmp_path_factory.mktemp("postgres"), max_connections=200) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(postgres_server: Postgres) -> str:
    """The name of a database to which every migration was applied; nothing may stay connected."""
    # Imported here, so that tests without a database do not need the program.
    from tollkeeper.migrate import migrate

    await _admin(postgres_server, f'CREATE DATABASE "{TEMPLATE}"')
    await migrate(postgres_server.dsn(TEMPLATE))
    return TEMPLATE


@pytest_asyncio.fixture
async def database(postgres_server: Postgres, template_database: str) -> AsyncIterator[str]:
    """The DSN of a migrated, empty database of the test's own."""
    name = f"test_{next(_numbers)}"
    await _admin(postgres_server, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    yield postgres_server.dsn(name)
    await _admin(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest_asyncio.fixture
async def empty_database(postgres_server: Postgres) -> AsyncIterator[str]:
    """The DSN of a database without any table: for tests of the migrations themselves."""
    name = f"test_{next(_numbers)}"
    await _admin(postgres_server, f'CREATE DATABASE "{name}"')
    yield postgres_server.dsn(name)
    await _admin(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Redis]:
    """A running Redis that keeps nothing."""
    async with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest_asyncio.fixture
async def redis_url(redis_server: Redis) -> str:
    """The URL of a Redis that was flushed for this test."""
    await ask(redis_server.port, "FLUSHALL")
    return redis_server.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisCluster]:
    """A running Redis Cluster of three masters."""
    async with RedisCluster(tmp_path_factory.mktemp("redis-cluster")) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    """The URL of a node of a Redis Cluster that was flushed for this test."""
    for node in redis_cluster.nodes:
        await ask(node.port, "FLUSHALL")
    return redis_cluster.url


async def _admin(server: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
