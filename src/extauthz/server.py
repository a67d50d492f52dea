"""The check served over gRPC by ``grpc.aio``, with health checks and reflection."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from envoyapi.auth_v3_pb2 import DESCRIPTOR
from extauthz.handler import CheckFailed, CheckHandler
from extauthz.limits import CheckLimits

SERVICE = DESCRIPTOR.services_by_name["Authorization"].full_name
_STATUSES = {
    "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
    "UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
}


class AuthorizationServer:
    """Serves ``envoy.service.auth.v3.Authorization`` on one address.

    Messages pass as bytes: the handler reads and writes them itself, once. Without ``credentials``
    the port is in clear, for loopback and Unix sockets.
    """

    def __init__(
        self,
        handler: CheckHandler,
        limits: CheckLimits,
        credentials: grpc.ServerCredentials | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._handler = handler
        self._credentials = credentials
        self._health = health.aio.HealthServicer()
        # Without SO_REUSEPORT an address that is taken is an error, not a share of its requests.
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.max_message_bytes),
            ),
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
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        return port

    async def drain(self, grace_s: float) -> None:
        """Take no new checks, finish those under way within ``grace_s``, and stop."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def wait(self) -> None:
        """Return when the server has stopped."""
        await self._server.wait_for_termination()

    async def _check(self, wire: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            return await self._handler.check(wire)
        except CheckFailed as failed:
            await context.abort(_STATUSES[failed.code], failed.message)

    def _register(self) -> None:
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self._check
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"Check": check})
        self._server.add_generic_rpc_handlers((handlers,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def _tell_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)
