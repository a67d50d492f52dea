"""One of several processes that hit the same counter; prints how many of its hits passed."""

from __future__ import annotations

import asyncio
import sys

from ratelimit.algorithms import Algorithm, Group
from ratelimit.limits import Limit
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings
from ratelimit.stores.opening import open_store
from ratelimit.units import SECOND_US, Unit

T0_US = 1_700_000_000 * SECOND_US
LIMIT = 500


async def race(url: str, algorithm: Algorithm, hits: int) -> int:
    """So many hits, forty at a time, all at the same moment of the clock."""
    lane = LaneSettings(deadline_ms=30_000, probe_deadline_ms=30_000)
    opened = open_store(RateLimitSettings(redis=RedisSettings(url), lane=lane))
    await opened.warm_up()
    limit = Limit(LIMIT, Unit.HOUR, algorithm, count_refused=False)
    passed = 0

    async def worker(count: int) -> None:
        nonlocal passed
        for _ in range(count):
            (reading,) = await opened.store.draw(Group([limit.draw("{race}", 1, T0_US)]))
            passed += not reading.over

    await asyncio.gather(*(worker(hits // 40) for _ in range(40)))
    await opened.store.close()
    return passed


if __name__ == "__main__":
    print(asyncio.run(race(sys.argv[1], Algorithm[sys.argv[2]], int(sys.argv[3]))))
