"""Random lives of leases: Redis answers, and keeps, what the plain integers in memory do."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.stores.memory import MemoryHotStore
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from tests.contract.hot_bench import DEADLINE_S, A, B, Clock, copy_of
from tests.contract.lease_steps import Happening, Lives, happenings

SET_BACK = """
if redis.call('HEXISTS', KEYS[1], 'r') == 0 then return 0 end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'r', string.format('%.0f', now_ms - ARGV[1]))
return 1
"""


@dataclass
class Both:
    """Memory, and a real Redis whose call-backs are as old as those in memory."""

    plain: MemoryHotStore
    real: RedisHotStore
    client: Any
    clock: Clock

    async def later(self, after_ms: int) -> None:
        self.clock.now_s += after_ms / 1000

    async def set_clocks(self) -> None:
        """Redis has a clock of its own, which goes on between steps: call-backs move with it."""
        for account, copy in self.plain._copies.items():
            if copy.called_s is not None:
                age_ms = round((self.clock.now_s - copy.called_s) * 1000)
                await self.client.eval(SET_BACK, 1, f"tk:{{{account}}}", age_ms)

    async def are_equal(self) -> None:
        """Neither holds anything that the other does not, of leases, too."""
        for account in (A, B):
            assert await copy_of(self.real, account) == await copy_of(self.plain, account)


@pytest.fixture
async def both(redis_url: str) -> AsyncIterator[Both]:
    """A hot copy of each kind."""
    client = connect(redis_url, DEADLINE_S)
    tokens = (f"token-{number}" for number in itertools.count())
    clock = Clock()
    plain = MemoryHotStore(clock, lambda: next(tokens))
    yield Both(plain, RedisHotStore(client, lambda: next(tokens), DEADLINE_S), client, clock)
    await client.aclose()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(happenings, min_size=40, max_size=60))
async def test_leases_live_the_same_in_redis_as_in_memory(
    both: Both, steps: Sequence[Happening]
) -> None:
    """Whatever is admitted, leased, drawn, ended, called back and built anew, in any order."""
    lives = Lives([both.plain, both.real], both.later)
    for account in (A, B):
        await lives.build(account, 2**50)
    for step in steps:
        await both.set_clocks()
        await lives.happen(step)
        present = await both.plain.read([A, B])
        assert present.keys() == (await both.real.read([A, B])).keys()
        await both.are_equal()
