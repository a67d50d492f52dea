"""The sink served over gRPC by ``grpc.aio``, with health checks and reflection.

Envoy's stream has no acknowledgement: what is under way when a stream is cut is lost, and only the
log file has it. So a drain first says NOT_SERVING, which keeps Envoy from opening streams here, and
then ends each stream right after a message, when Envoy has just emptied its buffer; Envoy opens the
next one where health is good, or keeps its entries until there is such a place.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from accesslog.intake import Intake
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.settings import ServerSettings
from envoyapi.accesslog_v3_pb2 import DESCRIPTOR, StreamAccessLogsResponse

SERVICE = DESCRIPTOR.services_by_name["AccessLogService"].full_name
ServerCredentials = grpc.ServerCredentials
Context = grpc.aio.ServicerContext[bytes, bytes]
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class AccessLogServer:
    """Serves ``envoy.service.accesslog.v3.AccessLogService`` on one address.

    Messages pass as bytes: the intake reads them itself, once. Without ``credentials`` the port is
    in clear, for loopback and Unix sockets.
    """

    def __init__(
        self,
        intake: Intake,
        settings: ServerSettings,
        metrics: AccessLogMetrics,
        notices: Notices,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._intake = intake
        self._settings = settings
        self._metrics = metrics
        self._notices = notices
        self._credentials = credentials
        self._health = health.aio.HealthServicer()
        self._draining = asyncio.Event()
        # Without SO_REUSEPORT an address that is taken is an error, not a share of its streams.
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_concurrent_streams", settings.max_streams),
                ("grpc.keepalive_time_ms", settings.keepalive_s * 1000),
                ("grpc.keepalive_timeout_ms", settings.keepalive_s * 500),
            )
        )
        self._register()

    async def start(self, address: str) -> int:
        """Bind (``host:port`` or ``unix:path``) and serve; port 0 is any, which is then returned.

        Raises ``RuntimeError`` when the address cannot be bound.
        """
        if self._credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, self._credentials)
        await self._server.start()
        await self._tell_health(serving=True)
        return port

    async def watch(self) -> None:
        """Keep health in step with the intake, until cancelled or drained."""
        serving = True
        while not self._draining.is_set():
            if serving == self._intake.is_stalled:
                serving = not serving
                await self._tell_health(serving=serving)
            await asyncio.sleep(self._settings.health_interval_s)

    async def drain(self, grace_s: float) -> None:
        """Let Envoy turn elsewhere, end every stream within ``grace_s``, and stop."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(min(self._settings.drain_notice_s, grace_s))
        self._draining.set()
        await self._server.stop(max(0.0, grace_s - self._settings.drain_notice_s))

    async def _stream(self, _requests: object, context: Context) -> bytes:
        self._metrics.streams.inc()
        try:
            await self._read(context)
        except Exception as fault:  # noqa: BLE001 - caught once, told, and answered
            self._notices.tell("stream_failed", repr(fault))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the sink failed; try again")
        finally:
            self._metrics.streams.dec()
        return StreamAccessLogsResponse().SerializeToString()

    async def _read(self, context: Context) -> None:
        """Take messages until the sender ends the stream or a drain does."""
        draining = asyncio.create_task(self._draining.wait())
        try:
            while (message := await self._next(context, draining)) is not None:
                await self._intake.take(message)
                if draining.done():
                    return
        finally:
            draining.cancel()

    async def _next(self, context: Context, draining: asyncio.Task[Any]) -> bytes | None:
        """The next message; ``None`` at the end of the stream, or when a drain finds it idle."""
        reading: asyncio.Future[Any] = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait((reading,), timeout=self._settings.drain_idle_s)
            message = reading.result() if reading.done() else None
        finally:
            reading.cancel()
        return message if isinstance(message, bytes) else None

    def _register(self) -> None:
        stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(
            self._stream
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": stream})
        self._server.add_generic_rpc_handlers((handlers,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def _tell_health(self, *, serving: bool) -> None:
        status = _SERVING if serving else _NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)
