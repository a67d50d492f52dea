"""One stack for the tests of single faults; each of them leaves it whole and its books exact."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.arena import Arena, open_arena
from tests.chaos.pushing import until_well

WORKERS = 5


@pytest_asyncio.fixture(loop_scope="session")
async def arena(shared_arena: Arena) -> Arena:
    """The shared stack, well again after the test before, however that one ended."""
    shared_arena.stack.middleman.mischief = "none"
    shared_arena.stack.proxy.cuts.clear()
    await until_well(shared_arena)
    return shared_arena


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_arena(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    """A stack with five workers of the front door. Its proxies live on the session's loop, so the
    tests that use it do too."""
    async with open_arena(tmp_path_factory.mktemp("arena"), 0, workers=WORKERS) as found:
        yield found
