"""``grpc.health.v1.Health/Check``, which Envoy asks ten times a second."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tollkeeper.unary.method import Method
from tollkeeper.unary.status import CallFailed, Code

PATH: Final = "/grpc.health.v1.Health/Check"
MAX_BYTES: Final = 1_024
_Response = HealthCheckResponse
_SERVING: bytes = _Response(status=_Response.SERVING).SerializeToString()
_NOT_SERVING: bytes = _Response(status=_Response.NOT_SERVING).SerializeToString()


def health_method(services: Collection[str], draining: Callable[[], bool]) -> Method:
    """Health of this process as a whole (the empty name) and of ``services``, which is the
    same."""

    async def check(wire: bytes) -> bytes:
        name = HealthCheckRequest.FromString(wire).service
        if name and name not in services:
            raise CallFailed(Code.NOT_FOUND, "no such service")
        return _NOT_SERVING if draining() else _SERVING

    return Method(check, _fault, MAX_BYTES)


def _fault(error: Exception) -> CallFailed | None:
    if isinstance(error, CallFailed):
        return error
    if isinstance(error, DecodeError):
        return CallFailed(Code.INVALID_ARGUMENT, "not a HealthCheckRequest")
    return None
