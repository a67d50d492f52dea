"""The word of settlers whose spool is full: one key of Redis, with an end."""

from __future__ import annotations

from billing.stores.redis_client import RedisClient
from billing.stores.redis_faults import redis_faults

FULL_KEY = "tk:spool_full"


class RedisSpoolSignal:
    """:class:`billing.fullness.SpoolSignal`; ``deadline_s`` bounds each call."""

    def __init__(self, client: RedisClient, deadline_s: float = 1.0) -> None:
        self._client = client
        self._deadline_s = deadline_s

    async def say_full(self, for_s: float) -> None:
        """Say it anew, whoever said it before."""
        async with redis_faults("say full", self._deadline_s):
            await self._client.set(FULL_KEY, 1, px=int(for_s * 1000))

    async def is_full(self) -> bool:
        """Whether the last word still holds."""
        async with redis_faults("is full", self._deadline_s):
            return bool(await self._client.exists(FULL_KEY))
