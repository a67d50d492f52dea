"""Real servers for the tests that want them, each started once, when a test first asks for it; how
many examples a property is tried on; and what the garbage collector need not look at."""

import gc
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio
from hypothesis import settings

from devstack import Postgres, Redis, RedisCluster
from devstack.resp import ask
from tests.databases import EMPTY, fresh_database, make_template

QUICK = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
"""Hundreds of databases are made and dropped; what a crash of the machine would do is not tested
here."""
settings.register_profile("short", max_examples=10, derandomize=True, deadline=None)
settings.register_profile("thorough", max_examples=100, derandomize=True, deadline=None)
# `make test` of everything asks for the thorough one: --hypothesis-profile=thorough
settings.load_profile("short")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay to the end: nothing of them is searched for garbage, once read."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A running Postgres without any database of ours."""
    folder = tmp_path_factory.mktemp("postgres")
    async with Postgres(folder, max_connections=200, settings=QUICK) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(postgres_server: Postgres) -> str:
    """The name of a database to which every migration was applied; nothing may stay connected."""
    return await make_template(postgres_server)


@pytest_asyncio.fixture
async def database(postgres_server: Postgres, template_database: str) -> AsyncIterator[str]:
    """The DSN of a migrated, empty database of the test's own."""
    async with fresh_database(postgres_server, template_database) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def empty_database(postgres_server: Postgres) -> AsyncIterator[str]:
    """The DSN of a database without any table: for tests of the migrations themselves."""
    async with fresh_database(postgres_server, EMPTY) as dsn:
        yield dsn


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
