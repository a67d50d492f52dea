"""The three services that Envoy calls, as recorders: what came is kept, what to answer is asked for
by the request's own ``x-test-*`` headers. Not the product's services: this is about the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from envoyapi import (
    accesslog_v3_pb2,
    accesslog_v3_pb2_grpc,
    auth_v3_pb2,
    auth_v3_pb2_grpc,
    ratelimit_v3_pb2,
    ratelimit_v3_pb2_grpc,
)

TICKET = "1.payload.mac"
ACCOUNT = "account-1"
RESERVATION = "reservation-1"
DENIAL = '{"error":{"code":"insufficient_credits"}}'
OVER_LIMIT = 2
OK = 1
TOO_MANY = 999_999


class Authorization(auth_v3_pb2_grpc.AuthorizationServicer):
    """Lets requests pass with a ticket, unless ``x-test-deny`` or ``x-test-fail`` is there."""

    def __init__(self) -> None:
        self.checks: list[auth_v3_pb2.CheckRequest] = []

    async def Check(  # noqa: N802 - Envoy's name
        self, request: auth_v3_pb2.CheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> auth_v3_pb2.CheckResponse:
        self.checks.append(request)
        headers = request.attributes.request.http.headers
        if "x-test-fail" in headers:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        response = auth_v3_pb2.CheckResponse()
        if "x-test-deny" in headers:
            response.status.code = 7
            response.denied_response.status.code = int(headers["x-test-deny"])  # type: ignore[assignment]
            response.denied_response.body = DENIAL
            _add(response.denied_response.headers, "content-type", "application/json")
            return response
        _add(response.ok_response.headers, "authorization", "Bearer sk-provider")
        _add(response.ok_response.response_headers_to_add, "x-request-id", RESERVATION)
        response.ok_response.headers_to_remove.append("x-api-key")
        response.ok_response.query_parameters_to_remove.append("api_key")
        metadata: dict[str, Any] = {"ticket": TICKET, "account": ACCOUNT, "profile": "llm"}
        if "x-test-quoted" in headers:
            metadata["quoted_units"] = headers["x-test-quoted"]
        if "x-test-limit" in headers:
            metadata["burst"] = "9"
            metadata["limit"] = {
                "requests_per_unit": int(headers["x-test-limit"]),
                "unit": "SECOND",
            }
        response.dynamic_metadata.update(metadata)
        return response


class RateLimits(ratelimit_v3_pb2_grpc.RateLimitServiceServicer):
    """Finds a limit of 1 exceeded, and so ``TOO_MANY`` hits; every other one is kept."""

    def __init__(self) -> None:
        self.asked: list[ratelimit_v3_pb2.RateLimitRequest] = []

    async def ShouldRateLimit(  # noqa: N802 - Envoy's name
        self, request: ratelimit_v3_pb2.RateLimitRequest, _context: object
    ) -> ratelimit_v3_pb2.RateLimitResponse:
        self.asked.append(request)
        response = ratelimit_v3_pb2.RateLimitResponse()
        per_unit = [d.limit.requests_per_unit for d in request.descriptors if d.HasField("limit")]
        over = 1 in per_unit or any(d.hits_addend.value == TOO_MANY for d in request.descriptors)
        response.overall_code = OVER_LIMIT if over else OK  # type: ignore[assignment]
        for descriptor in request.descriptors:
            status = response.statuses.add()
            status.code = response.overall_code
            if descriptor.HasField("limit"):
                status.current_limit.requests_per_unit = descriptor.limit.requests_per_unit
                status.current_limit.unit = 1  # type: ignore[assignment]
                status.duration_until_reset.seconds = 7
        return response


class AccessLog(accesslog_v3_pb2_grpc.AccessLogServiceServicer):
    """Keeps the bytes of every message."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def StreamAccessLogs(  # noqa: N802 - Envoy's name
        self,
        request_iterator: AsyncIterator[accesslog_v3_pb2.StreamAccessLogsMessage],
        _context: object,
    ) -> accesslog_v3_pb2.StreamAccessLogsResponse:
        async for message in request_iterator:
            self.messages.append(message.SerializeToString())
        return accesslog_v3_pb2.StreamAccessLogsResponse()


class Services:
    """All three on one port, with health."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.authorization = Authorization()
        self.rate_limits = RateLimits()
        self.access_log = AccessLog()
        self._server = grpc.aio.server()

    async def __aenter__(self) -> Self:
        auth_v3_pb2_grpc.add_AuthorizationServicer_to_server(self.authorization, self._server)
        ratelimit_v3_pb2_grpc.add_RateLimitServiceServicer_to_server(self.rate_limits, self._server)
        accesslog_v3_pb2_grpc.add_AccessLogServiceServicer_to_server(self.access_log, self._server)
        checker = health.aio.HealthServicer()
        await checker.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checker, self._server)
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._server.stop(grace=None)

    def forget(self) -> None:
        """Begin a test without what the last one left."""
        self.authorization.checks.clear()
        self.rate_limits.asked.clear()
        self.access_log.messages.clear()


async def until(seen: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait until something is there, and return it; ``TimeoutError`` when it never comes."""
    async with asyncio.timeout(timeout_s):
        while not (found := seen()):
            await asyncio.sleep(0.02)
    return found


def _add(headers: Any, name: str, value: str) -> None:
    option = headers.add()
    option.header.key, option.header.value, option.append_action = name, value, 2
