"""A TCP proxy before Postgres that can cut a connection around COMMIT.

*before*: the server never sees the COMMIT, so the transaction is rolled back. *after*: the server
has done it, and the client never hears of it.
"""

from __future__ import annotations

import asyncio
from typing import Literal

Cut = Literal["before", "after"]
PIECE_BYTES = 1 << 16


class CommitProxy:
    """Passes bytes to ``server``; each of ``cuts`` happens to one of the next COMMITs."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server = ("127.0.0.1", 0)
        self.cuts: list[Cut] = []
        self.done: list[Cut] = []
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Cut every connection and listen no more."""
        if self._listening is not None:
            self._listening.close()
        for writer in tuple(self._open):
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(*self.server)
        except OSError:
            to_client.close()  # Postgres is away: so are we
            return
        self._open |= {to_client, to_server}
        answers = asyncio.create_task(_pass_on(server, to_client))
        try:
            await self._pass_questions(client, server, to_server, answers)
        except OSError:
            pass  # either side may hang up whenever it likes
        finally:
            answers.cancel()
            await asyncio.wait([answers])
            for writer in (to_client, to_server):
                writer.close()
                self._open.discard(writer)

    async def _pass_questions(
        self,
        client: asyncio.StreamReader,
        server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        while data := await client.read(PIECE_BYTES):
            cut = self.cuts.pop(0) if b"COMMIT;" in data and self.cuts else None
            if cut == "after":
                answers.cancel()
                await asyncio.wait([answers])
                to_server.write(data)
                await server.read(PIECE_BYTES)  # the server says that it has committed
            if cut is not None:
                self.done.append(cut)
                return
            to_server.write(data)
            await to_server.drain()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other direction notices as well
    writer.close()
