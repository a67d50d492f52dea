"""The running Redis, apart from what it holds of accounts: which one it is, and how far it was
told."""

from __future__ import annotations

from billing.stores.redis_client import IdentityGuard, RedisClient, identity
from billing.stores.redis_faults import redis_faults

HEAD_KEY = "tk:head"
"""The newest batch of the ledger that this Redis was told of."""


class RedisServer:
    """:class:`billing.epoch.HotServer`; ``client`` is unguarded, ``guard`` is that of the hot
    store."""

    def __init__(self, client: RedisClient, guard: IdentityGuard, deadline_s: float = 1.0) -> None:
        self._client = client
        self._guard = guard
        self._deadline_s = deadline_s

    def expect(self, identity_expected: str) -> None:
        """From now on only this Redis may decide."""
        self._guard.expected = identity_expected

    async def identity(self) -> str:
        """Which running Redis answers now."""
        async with redis_faults("identity", self._deadline_s):
            return await identity(self._client)

    async def told_batch(self) -> int:
        """The newest batch that Redis was told of; 0 when none."""
        async with redis_faults("told batch", self._deadline_s):
            return int(await self._client.get(HEAD_KEY) or 0)

    async def tell_batch(self, batch_id: int) -> None:
        """Say up to which batch the ledger goes."""
        async with redis_faults("tell batch", self._deadline_s):
            await self._client.set(HEAD_KEY, batch_id)
