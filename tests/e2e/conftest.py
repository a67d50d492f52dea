"""Stacks for the stories. They start once; what a story kills there it starts again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio

from tollkeeper.stack import StackOptions

pytest.register_assert_rewrite("tests.e2e.ledger_reading")

from tests.e2e.ledger_reading import Books, open_books  # noqa: E402 - after its registration
from tests.e2e.stage import Stage, Upstream, new_stage  # noqa: E402

LAST = "test_after_all_stories"
"""Looks at what all the other stories left behind."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the module that judges the whole run behind all others."""
    items.sort(key=lambda item: item.path.stem == LAST)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stack with two workers of the front door and one Redis; nothing is killed here."""
    options = StackOptions(authz_workers=2, settings=(("expire_interval_s", "1"),))
    found = new_stage(tmp_path_factory.mktemp("stage"), options)
    async with found.stack:
        yield found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The same over a Redis Cluster, with the rate limits in a Redis of their own; for stories
    that stop parts of it."""
    options = StackOptions(authz_workers=2, redis_cluster=True)
    found = new_stage(tmp_path_factory.mktemp("cluster"), options)
    async with found.stack:
        yield found


@pytest_asyncio.fixture
async def books(stage: Stage) -> AsyncIterator[Books]:
    """The ledger of ``stage``."""
    async with open_books(stage.stack.settings) as found:
        yield found


@pytest_asyncio.fixture
async def cluster_books(cluster_stage: Stage) -> AsyncIterator[Books]:
    """The ledger of ``cluster_stage``."""
    async with open_books(cluster_stage.stack.settings) as found:
        yield found


@pytest_asyncio.fixture
async def upstream(stage: Stage) -> AsyncIterator[Upstream]:
    """The example upstream of ``stage``; counts and instructions end with the test."""
    async with _forgetful(stage) as found:
        yield found


@pytest_asyncio.fixture
async def cluster_upstream(cluster_stage: Stage) -> AsyncIterator[Upstream]:
    """The example upstream of ``cluster_stage``; counts and instructions end with the test."""
    async with _forgetful(cluster_stage) as found:
        yield found


@pytest_asyncio.fixture
async def anonymous(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway without a key."""
    async with stage.client() as client:
        yield client


@asynccontextmanager
async def _forgetful(stage: Stage) -> AsyncIterator[Upstream]:
    found = Upstream(next(iter(stage.stack.settings.upstream_urls.values())))
    await found.reset()
    yield found
    await found.reset()
