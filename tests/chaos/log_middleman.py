"""A man in the middle of the access-log stream: entries doubled, dropped, reordered, delayed.

To Envoy it is the sink: health is asked of the real one, and a stream ends when the real one's
does. What it drops, and what it holds when a stream breaks, is in Envoy's log file.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any, Literal

import grpc

from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage

Mischief = Literal["none", "double", "drop", "reorder", "delay"]
SERVICE = "envoy.service.accesslog.v3.AccessLogService"
HEALTH = "grpc.health.v1.Health"
HEALTH_DEADLINE_S = 0.5
MAX_MESSAGE_BYTES = 80 << 20
OPTIONS = (("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0))
Context = grpc.aio.ServicerContext[bytes, bytes]


class LogMiddleman:
    """Serves on ``port`` and passes on to ``sink`` (``host:port``), with ``mischief``."""

    def __init__(self, port: int, dice: random.Random) -> None:
        self.port = port
        self.sink = ""
        self.mischief: Mischief = "none"
        self.dice = dice
        self.dropped = 0
        self.doubled = 0
        self._server: grpc.aio.Server | None = None
        self._channel: grpc.aio.Channel | None = None

    async def turn_to(self, sink: str) -> None:
        """From now on this is the sink; streams to the one before end."""
        before, self.sink = self._channel, sink
        self._channel = grpc.aio.insecure_channel(
            sink, options=(("grpc.initial_reconnect_backoff_ms", 100), *_QUICK)
        )
        if before is not None:
            await before.close()

    async def start(self, sink: str) -> None:
        await self.turn_to(sink)
        self._server = grpc.aio.server(options=OPTIONS)
        stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(
            self._stream
        )
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self._check
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": stream}),
                grpc.method_handlers_generic_handler(HEALTH, {"Check": check}),
            )
        )
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0.1)
        if self._channel is not None:
            await self._channel.close()

    async def _check(self, request: bytes, context: Context) -> bytes:
        assert self._channel is not None
        ask: Any = self._channel.unary_unary(f"/{HEALTH}/Check")
        try:
            answer: bytes = await ask(request, timeout=HEALTH_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, error.details() or "the sink is away")
        return answer

    async def _stream(self, _requests: object, context: Context) -> bytes:
        assert self._channel is not None
        call: Any = self._channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")()
        held: list[bytes] = []
        reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
        try:
            while not call.done():
                await asyncio.wait((reading,), timeout=0.05)
                if reading.done():
                    message = reading.result()
                    if not isinstance(message, bytes):
                        break  # Envoy ended the stream
                    held += self._changed(message)
                    reading = asyncio.ensure_future(context.read())
                if self.mischief != "delay":
                    await self._pass_on(call, held)
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the sink is gone: what was held is in the file
        finally:
            reading.cancel()
            call.cancel()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the sink ended the stream")

    async def _pass_on(self, call: Any, held: list[bytes]) -> None:
        if self.mischief == "reorder":
            if len(held) < 4:
                return
            self.dice.shuffle(held)
        while held:
            await call.write(held.pop(0))

    def _changed(self, message: bytes) -> list[bytes]:
        match self.mischief:
            case "double":
                self.doubled += 1
                return [message, message]
            case "drop" if self.dice.random() < 0.5:
                self.dropped += 1
                return []
            case "reorder":
                return [self._shuffled(message)]
        return [message]

    def _shuffled(self, message: bytes) -> bytes:
        parsed = StreamAccessLogsMessage.FromString(message)
        entries = list(parsed.http_logs.log_entry)
        self.dice.shuffle(entries)
        del parsed.http_logs.log_entry[:]
        parsed.http_logs.log_entry.extend(entries)
        return parsed.SerializeToString()


_QUICK = (("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200))
