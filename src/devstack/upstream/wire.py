"""HTTP/1.1 as far as a proxy in front of us speaks it: fast, with bounds, without anything else.

A request is answered by a :class:`Reply` at once, or by a coroutine that writes through its
:class:`Exchange`. One connection serves one request at a time; what comes early waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, cast

MAX_HEAD_BYTES = 256 << 10
MAX_BODY_BYTES = 64 << 20

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Request(NamedTuple):
    """One request; header names are lower-case, of repeated ones the last counts."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole answer."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json"


class Exchange:
    """Writes one answer piece by piece; :class:`ConnectionError` when the other side is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start_stream(self, headers: Sequence[tuple[str, str]], content_type: str) -> None:
        await self._write(head(200, headers, content_type, "transfer-encoding: chunked"))

    async def chunk(self, data: bytes) -> None:
        await self._write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_stream(self) -> None:
        await self._write(b"0\r\n\r\n")

    async def reply(self, reply: Reply) -> None:
        await self._write(encode(reply))

    async def half_of(self, reply: Reply) -> None:
        """Everything but the second half of the body, which never comes."""
        whole = encode(reply)
        await self._write(whole[: len(whole) - (len(reply.body) + 1) // 2])

    def hang_up(self) -> None:
        self._connection.hang_up()

    async def _write(self, data: bytes) -> None:
        await self._connection.write(data)


Slow = Callable[[Exchange], Coroutine[Any, Any, None]]
Handler = Callable[[Request], Reply | Slow]


def head(status: int, headers: Sequence[tuple[str, str]], content_type: str, length: str) -> bytes:
    """Status line and headers."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}", f"content-type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, length, "", ""]).encode("latin-1")


def encode(reply: Reply) -> bytes:
    length = f"content-length: {len(reply.body)}"
    return head(reply.status, reply.headers, reply.content_type, length) + reply.body


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._task is None:
            self._serve()

    async def write(self, data: bytes) -> None:
        await self._writable.wait()
        if self._transport is None:
            raise ConnectionError("the client is gone")
        self._transport.write(data)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _serve(self) -> None:
        """Answer what has arrived whole, until an answer takes time."""
        while self._transport is not None and self._task is None:
            try:
                request = self._reader.next_request()
            except BadHttp as error:
                self._transport.write(encode(Reply(error.status, b"", [("connection", "close")])))
                self._transport.close()
                return
            if request is None:
                return
            outcome = self._handler(request)
            if isinstance(outcome, Reply):
                self._transport.write(encode(outcome))
            else:
                self._task = asyncio.get_running_loop().create_task(outcome(Exchange(self)))
                self._task.add_done_callback(self._after)

    def _after(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.hang_up()
            if not isinstance(error, ConnectionError):
                raise error
        self._serve()


class BadHttp(Exception):
    """Bytes that are no request; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(_REASONS[status])
        self.status = status


class Reader:
    """Cuts the bytes of a connection into requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_request(self) -> Request | None:
        """The next whole request, or None until more arrives; raises :class:`BadHttp`."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadHttp(431)
            return None
        method, target, headers = _parse_head(bytes(self._buffer[:end]))
        start = end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            found = _chunked_body(self._buffer, start)
        else:
            found = _sized_body(self._buffer, start, headers.get("content-length", "0"))
        if found is None:
            return None
        body, after = found
        del self._buffer[:after]
        return Request(method, target, headers, body)


def _parse_head(data: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = data.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3:
        raise BadHttp(400)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadHttp(400)
        headers[name.lower()] = value.strip()
    return parts[0], parts[1], headers


def _sized_body(buffer: bytearray, start: int, length: str) -> tuple[bytes, int] | None:
    if not length.isdecimal():
        raise BadHttp(400)
    size = int(length)
    if size > MAX_BODY_BYTES:
        raise BadHttp(413)
    if len(buffer) < start + size:
        return None
    return bytes(buffer[start : start + size]), start + size


def _chunked_body(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        size_text = bytes(buffer[start:line_end]).partition(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError as error:
            raise BadHttp(400) from error
        start = line_end + 2
        if size < 0 or len(body) + size > MAX_BODY_BYTES:
            raise BadHttp(413)
        if len(buffer) < start + size + 2:
            return None
        if size == 0:
            end = buffer.find(b"\r\n", start)
            return bytes(body), end + 2  # proxies send no trailers to an HTTP/1.1 server
        body += buffer[start : start + size]
        start += size + 2
    return None
