"""The words of settlers about their spools: one hash of Redis, each word with an end."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from billing.stores.redis_client import RedisClient
from billing.stores.redis_faults import redis_faults

WORDS_KEY = "tk:spools"


def _script(name: str) -> str:
    return files("billing.stores").joinpath(name).read_text()


class RedisSpoolSignal:
    """:class:`billing.fullness.SpoolSignal`; ``deadline_s`` bounds each call."""

    def __init__(self, client: RedisClient, deadline_s: float = 1.0) -> None:
        self._client = client
        self._deadline_s = deadline_s
        self._say = _script("spool_say.lua")
        self._full = _script("spool_full.lua")

    async def say(self, settler: str, *, full: bool, for_s: float) -> None:
        """Say it anew; the settler's last word is void."""
        async with redis_faults("say of the spool", self._deadline_s):
            await self._ask(self._say, settler, str(int(full)), str(int(for_s * 1000)))

    async def is_full(self) -> bool:
        """Whether a settler is full, and none has room, by the words that still hold."""
        async with redis_faults("is full", self._deadline_s):
            return bool(await self._ask(self._full))

    async def _ask(self, script: str, *arguments: str) -> Any:
        # Sent whole: it is one call a second.
        return await self._client.eval(script, 1, WORDS_KEY, *arguments)
