"""Settings -> the store that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings
from ratelimit.stores.cluster import ClusterStore
from ratelimit.stores.lane import Lane
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.protocol import CounterStore
from ratelimit.stores.redis import RedisStore
from ratelimit.stores.redis_url import parse_redis_url
from ratelimit.stores.script import Script, limits_script
from ratelimit.stores.split import SplitStore


class OpenStore(NamedTuple):
    """A store, and what it is made of, for warming up and for metrics."""

    store: CounterStore
    servers: Sequence[RedisStore | ClusterStore]

    async def warm_up(self) -> None:
        """Connect before the first request; servers that are away are left to their breakers."""
        for server in self.servers:
            await server.warm_up()

    def lanes(self) -> Sequence[Lane]:
        """Every lane there is now; a cluster's come and go."""
        return [lane for server in self.servers for lane in server.lanes()]


def open_store(settings: RateLimitSettings) -> OpenStore:
    """Nothing is connected yet. Raises :class:`ratelimit.errors.SettingRefused` for a bad URL."""
    script = limits_script()
    if not settings.redis.url:
        return OpenStore(MemoryStore(settings.memory_counters_max), ())
    probe_key = f"{settings.key_prefix}:probe"
    main = _opened(settings.redis, settings.lane, script, probe_key)
    if settings.redis_per_second is None:
        return OpenStore(main, (main,))
    fast = _opened(settings.redis_per_second, settings.lane, script, probe_key)
    return OpenStore(SplitStore(main, fast), (main, fast))


def _opened(
    settings: RedisSettings, lane: LaneSettings, script: Script, probe_key: str
) -> RedisStore | ClusterStore:
    if parse_redis_url(settings.url).kind == "cluster":
        return ClusterStore(settings, lane, script)
    return RedisStore(settings, lane, script, probe_key)
