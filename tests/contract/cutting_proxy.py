"""A TCP proxy before Postgres that cuts a connection around COMMIT: before the server sees it, or
after the server has done it and before the client hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Cut = Literal["before", "after"]


class CuttingProxy:
    """Passes bytes on; ``cuts`` says what happens to the next COMMITs, one each."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.cuts: list[Cut] = []
        self.done: list[Cut] = []

    async def __call__(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        answers = asyncio.create_task(_pass_on(from_server, to_client))
        try:
            while data := await from_client.read(1 << 16):
                cut = self.cuts.pop(0) if b"COMMIT;" in data and self.cuts else None
                if cut == "after":
                    answers.cancel()
                    await asyncio.wait([answers])
                    to_server.write(data)
                    await from_server.read(1 << 16)  # the server says that it has committed
                if cut is not None:
                    self.done.append(cut)
                    return
                to_server.write(data)
                await to_server.drain()
        except ConnectionError:
            pass  # either side may hang up whenever it likes
        finally:
            answers.cancel()
            to_server.close()
            to_client.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other direction notices as well
    writer.close()


@asynccontextmanager
async def cutting_proxy(dsn: str) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server of a DSN, and the DSN that leads through it."""
    parts = urlsplit(dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = CuttingProxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield proxy, urlunsplit(parts._replace(netloc=f"postgres@127.0.0.1:{port}"))
    finally:
        server.close()
