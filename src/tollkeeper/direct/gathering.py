"""Writing once for all that is written in one turn of the event loop.

A gateway sends many calls in one piece, and most of them are answered in the turn in which they
came: one system call for all their answers, and not one for each.
"""

from __future__ import annotations

import asyncio


class Gathering(asyncio.Transport):
    """A transport in front of another one; what is written goes out at the end of the turn."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it soon, in order."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(bytes(data))

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        """Close, and send nothing more."""
        self._pieces.clear()
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._inner.is_closing()

    def can_write_eof(self) -> bool:
        """Whether one direction can be closed alone."""
        return self._inner.can_write_eof()

    def write_eof(self) -> None:
        """Send what was written, and close that direction."""
        self._flush()
        self._inner.write_eof()

    def pause_reading(self) -> None:
        """Hear nothing for now."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._inner.resume_reading()

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces and not self._inner.is_closing():
            self._inner.write(b"".join(pieces))
