"""News of changes, from the one connection that listens to all that want to hear of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from billing.stores.protocol import Change, PrincipalStore

MAX_UNREAD = 100_000
"""News that wait for one reader; a reader that is further behind is told ``lost`` instead."""


class News:
    """Reads ``source.changes()`` once; every :meth:`changes` hears all from its start on."""

    def __init__(self, source: PrincipalStore) -> None:
        self._source = source
        self._readers: set[asyncio.Queue[Change]] = set()

    async def run(self) -> None:
        """Listen for ever."""
        async for change in self._source.changes():
            for unread in self._readers:
                if unread.qsize() >= MAX_UNREAD:
                    _empty(unread)
                    unread.put_nowait(Change("lost", detail="back"))
                else:
                    unread.put_nowait(change)

    async def changes(self) -> AsyncIterator[Change]:
        """All changes from now on."""
        unread: asyncio.Queue[Change] = asyncio.Queue()
        self._readers.add(unread)
        try:
            while True:
                yield await unread.get()
        finally:
            self._readers.discard(unread)


def _empty(unread: asyncio.Queue[Change]) -> None:
    while not unread.empty():
        unread.get_nowait()
