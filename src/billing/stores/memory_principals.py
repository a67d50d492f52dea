"""Who a key belongs to, in memory, with the stream of changes that Postgres would tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from weakref import WeakSet

from billing.errors import StoreUnavailable
from billing.stores.protocol import Change
from billing.subscriptions import Principal

LISTENING = Change("lost", detail="back")
"""What is told first, and after a gap: whatever was known before may have changed."""


class _Listener:
    """One reader of changes; forgotten as soon as nobody holds it."""

    def __init__(self, max_waiting: int) -> None:
        self._waiting: asyncio.Queue[Change] = asyncio.Queue(max_waiting)
        self._waiting.put_nowait(LISTENING)

    def __aiter__(self) -> _Listener:
        return self

    async def __anext__(self) -> Change:
        return await self._waiting.get()

    def tell(self, change: Change) -> None:
        if self._waiting.full():
            while not self._waiting.empty():
                self._waiting.get_nowait()
            change = LISTENING
        self._waiting.put_nowait(change)


class MemoryPrincipalStore:
    """A :class:`billing.stores.protocol.PrincipalStore` of one process.

    A listener that falls more than ``max_waiting`` changes behind is told ``lost`` in their place,
    as one whose connection broke. ``queries`` counts look-ups, so that a test can see how many
    there were. While ``away`` is set a look-up raises :class:`StoreUnavailable`.
    """

    def __init__(self, max_waiting: int = 1000) -> None:
        self._max_waiting = max_waiting
        self._principals: dict[bytes, Principal] = {}
        self._listeners: WeakSet[_Listener] = WeakSet()
        self.away = False
        self.queries = 0

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        """The principals of those keys that exist."""
        self.queries += 1
        if self.away:
            raise StoreUnavailable("the store of keys does not answer")
        found = {key_hash: self._principals.get(key_hash) for key_hash in key_hashes}
        return {key: principal for key, principal in found.items() if principal is not None}

    def changes(self) -> AsyncIterator[Change]:
        """What is told after this call, until the caller stops."""
        listener = _Listener(self._max_waiting)
        self._listeners.add(listener)
        return listener

    def put(self, key_hash: bytes, principal: Principal) -> None:
        """Add a key or replace what is known of it, and tell that the key changed."""
        self._principals[key_hash] = principal
        self.announce(Change("key", principal.account_id, key_hash.hex()))

    def remove(self, key_hash: bytes) -> None:
        """Forget a key, and tell that it changed; ``KeyError`` when it is unknown."""
        principal = self._principals.pop(key_hash)
        self.announce(Change("key", principal.account_id, key_hash.hex()))

    def announce(self, change: Change) -> None:
        """Tell every listener."""
        for listener in tuple(self._listeners):
            listener.tell(change)
