"""What a supervisor and a hosted worker say to each other: single bytes over a pair of sockets.

The worker says that it is ready, and later that it has drained; the supervisor asks it to drain.
When the supervisor's end closes without a word, it has died, and the worker ends as well.
"""

from __future__ import annotations

import asyncio
import socket

READY = b"r"
DRAIN = b"d"
DRAINED = b"e"


class ControlLine:
    """One end of the pair."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end

    @classmethod
    def inherited(cls, descriptor: int) -> ControlLine:
        """The end that this process was started with."""
        return cls(socket.socket(fileno=descriptor))

    async def say(self, word: bytes) -> None:
        """Tell the other end; harmless when it is gone."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._end, word)
        except (BrokenPipeError, ConnectionResetError):
            return  # whoever waits for it sees the end of the line instead

    async def hear(self) -> bytes:
        """The next word; empty when the other end is gone."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._end, 1)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        """Leave the line."""
        self._end.close()
