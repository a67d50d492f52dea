"""A load generator for one unary gRPC method: HTTP/2 frames written and read by hand.

A gRPC client in Python takes as much time per call as the server that it is to measure. This one
keeps so many streams open on one connection, and looks at no more of an answer than its frames:
about a tenth of the server's time.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WIDE_WINDOW = 2**30


@dataclass
class Load:
    """What a run has seen. ``latencies_s`` has one entry per answer."""

    latencies_s: list[float] = field(default_factory=list)
    without_message: int = 0  # answers that were only a status: errors
    elapsed_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / self.elapsed_s

    def quantile_ms(self, share: float) -> float:
        """The latency that so many answers stayed below, in milliseconds."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], headers: bytes, until_s: float) -> None:
        self.load = Load()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._headers = headers
        self._until_s = until_s
        self._buffer = bytearray()
        self._began_s: dict[int, float] = {}
        self._answered: set[int] = set()
        self._next_stream = 1
        self._window = 65_535

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack("!HI", 4, _WIDE_WINDOW)  # initial window of a stream
        wide = struct.pack("!I", _WIDE_WINDOW)
        self._transport.write(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW, 0, 0, wide)
        )

    def ask(self, count: int) -> None:
        """Send so many requests."""
        out = []
        now_s = time.perf_counter()
        for _ in range(count):
            message = next(self._requests)
            body = struct.pack("!BI", 0, len(message)) + message
            stream = self._next_stream
            self._next_stream += 2
            self._window -= len(body)
            self._began_s[stream] = now_s
            out.append(_frame(_HEADERS, _END_HEADERS, stream, self._headers))
            out.append(_frame(_DATA, _END_STREAM, stream, body))
        self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        finished, at = 0, 0
        while len(self._buffer) - at >= 9:
            length = int.from_bytes(self._buffer[at : at + 3], "big")
            if len(self._buffer) - at < 9 + length:
                break
            kind, flags = self._buffer[at + 3], self._buffer[at + 4]
            stream = int.from_bytes(self._buffer[at + 5 : at + 9], "big")
            finished += self._frame(kind, flags, stream, self._buffer[at + 9 : at + 9 + length])
            at += 9 + length
        del self._buffer[:at]
        if finished:
            self._go_on(finished)

    def _go_on(self, finished: int) -> None:
        if time.perf_counter() < self._until_s:
            self.ask(finished)
        elif not self._began_s and not self.done.done():
            self.done.set_result(None)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytearray) -> int:
        """1 when it ended a stream."""
        if kind == _DATA:
            self._answered.add(stream)
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, bytes(payload)))
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind in {_RST, _GOAWAY}:
            self.connection_lost(ConnectionResetError(f"frame {kind}: {bytes(payload)!r}"))
        if kind not in {_DATA, _HEADERS} or not flags & _END_STREAM:
            return 0
        self.load.latencies_s.append(time.perf_counter() - self._began_s.pop(stream))
        if stream not in self._answered:
            self.load.without_message += 1
        self._answered.discard(stream)
        assert self._window > 0, "requests too large for this generator"
        return 1

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed"))


async def put_load(
    port: int, path: str, requests: Iterator[bytes], *, streams: int, duration_s: float
) -> Load:
    """Keep so many streams busy for so long; answers that are under way at the end count."""
    began_s = time.perf_counter()
    headers = _headers(path, port)
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(
        lambda: _Connection(requests, headers, began_s + duration_s), "127.0.0.1", port
    )
    connection.ask(streams)
    async with asyncio.timeout(duration_s + 30):
        await connection.done
    connection.load.elapsed_s = time.perf_counter() - began_s
    transport.close()
    return connection.load


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        struct.pack("!I", len(payload) << 8 | kind)[0:4]
        + struct.pack("!BI", flags, stream)
        + payload
    )


def _headers(path: str, port: int) -> bytes:
    """A header block of static names and literal values, which needs no state on either side."""

    def literal(index: int, value: str) -> bytes:
        name = bytes([index]) if index < 15 else bytes([15, index - 15])
        return name + bytes([len(value)]) + value.encode()

    te = b"\x00" + bytes([2]) + b"te" + bytes([8]) + b"trailers"
    return (
        b"\x83\x86"  # POST, http
        + literal(4, path)
        + literal(1, f"127.0.0.1:{port}")
        + literal(31, "application/grpc")
        + te
    )
