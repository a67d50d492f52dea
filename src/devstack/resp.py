"""One Redis command over a connection of its own: enough to ask a node whether it is ready."""

import asyncio

from devstack.ports import LOOPBACK


class RedisRefused(Exception):
    """Redis answered with an error."""


async def ask(port: int, *words: str, timeout_s: float = 2.0) -> str:
    """The answer to a command as text; raises OSError, TimeoutError or RedisRefused."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(_encode(words))
            await writer.drain()
            return await _answer(reader)
        finally:
            writer.close()
            await writer.wait_closed()


def _encode(words: tuple[str, ...]) -> bytes:
    parts = (word.encode() for word in words)
    body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%s" % (len(words), body)


async def _answer(reader: asyncio.StreamReader) -> str:
    line = (await reader.readline()).decode().rstrip("\r\n")
    if not line:
        raise ConnectionResetError("Redis closed the connection without an answer")
    kind, rest = line[0], line[1:]
    if kind == "-":
        raise RedisRefused(rest)
    if kind == "$":
        text = await reader.readexactly(int(rest) + 2)
        return text[:-2].decode()
    return rest
