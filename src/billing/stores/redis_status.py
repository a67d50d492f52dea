"""How a Redis is: its version, and whether it would throw away what it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.asyncio import RedisCluster

from billing.stores.redis_client import RedisClient, identity
from billing.stores.redis_faults import redis_faults


class RedisStatus(NamedTuple):
    """One server, or one master of a Cluster; ``max_memory_bytes`` is 0 without a bound."""

    version: str
    policy: str
    max_memory_bytes: int
    used_memory_bytes: int

    @property
    def evicts(self) -> bool:
        """Whether it throws keys away when its memory is full."""
        return self.max_memory_bytes > 0 and self.policy != "noeviction"


async def redis_status(client: RedisClient, deadline_s: float) -> list[RedisStatus]:
    """Every server that holds a part of the copy; ``StoreUnavailable`` when one is away."""
    async with redis_faults("status", deadline_s):
        if isinstance(client, RedisCluster):
            answer = await client.info(target_nodes=RedisCluster.PRIMARIES)
            nodes = [answer] if "redis_version" in answer else list(answer.values())
        else:
            nodes = [await client.info()]
    return [_status(node) for node in nodes]


async def redis_identity(client: RedisClient, deadline_s: float) -> str:
    """Which running Redis this is."""
    async with redis_faults("identity", deadline_s):
        return await identity(client)


def _status(info: Mapping[str, Any]) -> RedisStatus:
    return RedisStatus(
        version=str(info["redis_version"]),
        policy=str(info["maxmemory_policy"]),
        max_memory_bytes=int(info["maxmemory"]),
        used_memory_bytes=int(info["used_memory"]),
    )
