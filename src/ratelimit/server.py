"""The gRPC server: a thin shell around :class:`ratelimit.handler.Handler`, with health and
reflection."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from envoyapi import ratelimit_v3_pb2
from ratelimit.errors import InvalidRequest, StoreUnavailable
from ratelimit.handler import Handler
from ratelimit.settings_values import RateLimitSettings

SERVICE = str(ratelimit_v3_pb2.DESCRIPTOR.services_by_name["RateLimitService"].full_name)
ServerCredentials = grpc.ServerCredentials
_Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcServer:
    """Listens on one address, answers until told to stop; in clear without ``credentials``."""

    def __init__(
        self,
        handler: Handler,
        settings: RateLimitSettings,
        credentials: ServerCredentials | None = None,
    ) -> None:
        self._handler = handler
        self._credentials = credentials
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.request_size_max_bytes),
                # Another process on the same port would get half of the requests unnoticed.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=settings.concurrent_requests_max,
        )
        # Bytes in, bytes out: a message that cannot be read is then ours to answer.
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self._should_rate_limit
        )
        methods = {"ShouldRateLimit": method}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, methods),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Listen and answer; returns the port (0 for a Unix socket). Raises OSError."""
        address = self._settings.listen
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        await self._server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return 0 if address.startswith("unix:") else int(port)

    async def stop(self) -> None:
        """Say so to health checks, go on until that was heard, finish what is under way, end."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        # gRPC cancels calls that have arrived and not begun when it stops: let them begin first.
        await asyncio.sleep(self._settings.drain_notice_s)
        await self._server.stop(self._settings.drain_deadline_s)

    async def _set_health(self, status: int) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def _should_rate_limit(self, body: bytes, context: _Context) -> bytes:
        try:
            return await self._handler.should_rate_limit(body)
        except InvalidRequest as error:
            code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except StoreUnavailable as error:
            code, text = grpc.StatusCode.UNAVAILABLE, error.reason
        await context.abort(code, text)
        raise AssertionError("abort always raises")
