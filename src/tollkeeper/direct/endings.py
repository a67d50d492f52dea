"""What ends before its time: streams that we end, and connections that break the protocol."""

from __future__ import annotations

import asyncio
from typing import Final

from tollkeeper.direct.frames import ConnectionFault, ErrorCode

MAX_REMEMBERED: Final = 1_000


class EarlyEnds:
    """Streams that we ended before their clients had: what had been sent by then is passed over.
    The last thousand are remembered."""

    def __init__(self) -> None:
        self._numbers: dict[int, None] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._numbers

    def add(self, number: int) -> None:
        """This one, too."""
        self._numbers[number] = None
        if len(self._numbers) > MAX_REMEMBERED:
            del self._numbers[next(iter(self._numbers))]


class Nuisances:
    """What costs a peer nothing and us work: calls taken back, faults of streams, other windows.
    ``free`` of them do not count; then it may be one for two calls."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._found = 0

    def count(self, last: int) -> None:
        """One more, on a connection whose ``last`` stream is known: every second number is one."""
        self._found += 1
        if self._found > max(self._free, last // 4):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many calls taken back")


def hang_up(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, linger_s: float) -> None:
    """Say no more, and hear the peer out for a moment: a connection that is closed with unread
    bytes is reset, and the peer would never read why."""
    if not transport.can_write_eof():
        transport.close()
        return
    transport.write_eof()
    loop.call_later(linger_s, transport.abort)
