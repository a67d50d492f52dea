"""A directory over a store in memory, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from billing.keys import hash_key
from billing.refusals import Refusal
from billing.stores.memory import MemoryPrincipalStore
from billing.stores.protocol import Change
from billing.subscriptions import Principal
from extauthz.counts import DirectoryCounts
from extauthz.directory import Caller, Directory
from extauthz.limits import DirectoryLimits
from tests.unit.extauthz.front_door import LISTENING, Clock, make_key, make_principal

LOST = Change("lost", detail="away")
LIMITS = DirectoryLimits(
    max_age_s=300, stale_max_s=60, recheck_s=1, unknown_ttl_s=5, retry_s=0.25, max_query_keys=50
)


class SlowStore:
    """A store that answers when the test lets it, and remembers what it was asked."""

    def __init__(self, inner: MemoryPrincipalStore) -> None:
        self._inner = inner
        self.asked: list[list[bytes]] = []
        self.gate = asyncio.Event()

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        self.asked.append(list(key_hashes))
        await self.gate.wait()
        return await self._inner.find(key_hashes)

    def changes(self) -> AsyncIterator[Change]:
        return self._inner.changes()


@dataclass
class Office:
    """A directory over a store in memory; it listens unless a test says otherwise."""

    clock: Clock
    store: MemoryPrincipalStore
    counts: DirectoryCounts
    directory: Directory

    def add(self, number: int) -> bytes:
        """A key of its own account; its hash."""
        key_hash = hash_key(make_key(number))
        self.store.put(key_hash, make_principal(number))
        return key_hash

    async def look(self, key_hash: bytes) -> Caller | Refusal:
        """What a check does: memory first, then Postgres."""
        return self.directory.recall(key_hash) or await self.directory.find(key_hash)

    async def code(self, key_hash: bytes) -> str:
        """``known``, ``stale``, or the code of the refusal."""
        answer = await self.look(key_hash)
        if isinstance(answer, Refusal):
            return answer.kind.code
        return "stale" if answer.stale else "known"


def make_office(limits: DirectoryLimits = LIMITS, *, listening: bool = True) -> Office:
    clock, store, counts = Clock(), MemoryPrincipalStore(), DirectoryCounts()
    directory = Directory(store, limits, counts, clock)
    if listening:
        directory.tell(LISTENING)
    return Office(clock, store, counts, directory)
