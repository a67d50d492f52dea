"""How much a peer may send us that is not taken yet (RFC 9113, section 5.2)."""

from __future__ import annotations

import asyncio

from tollkeeper.direct.frames import FIRST_WINDOW_BYTES, Kind, four_bytes, write_frame


class ReceiveWindow:
    """The window of a connection, of ``size_bytes``, and at least what every peer has from the
    first. ``left_bytes`` may still come; whoever takes bytes counts them down."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = max(size_bytes, FIRST_WINDOW_BYTES)
        self.left_bytes = self.size_bytes
        self._freed_bytes = 0

    def opening(self) -> bytes:
        """What tells the peer of it, before anything else does."""
        more_bytes = self.size_bytes - FIRST_WINDOW_BYTES
        return write_frame(Kind.WINDOW_UPDATE, 0, 0, four_bytes(more_bytes)) if more_bytes else b""

    def free(self, size_bytes: int, transport: asyncio.WriteTransport) -> None:
        """So much more may come; the peer is told now and then."""
        self._freed_bytes += size_bytes
        if self._freed_bytes > self.size_bytes // 4:
            more = four_bytes(self._freed_bytes)
            transport.write(write_frame(Kind.WINDOW_UPDATE, 0, 0, more))
            self.left_bytes += self._freed_bytes
            self._freed_bytes = 0
