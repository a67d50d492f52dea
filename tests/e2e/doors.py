"""Straight to the gRPC ports of the front door and of the back door, without Envoy between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import grpc

from billing.ticket import Ticket, TicketSeal
from envoyapi.accesslog_data_v3_pb2 import AccessLogType, HTTPAccessLogEntry
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from envoyapi.auth_v3_pb2_grpc import AuthorizationStub
from tests.e2e.stage import Stage
from tollkeeper.stack.customers import Customer

TICKET_NAMESPACE = "envoy.filters.http.ext_authz"
USAGE_NAMESPACE = "tollkeeper.usage"
SINK_METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
TIMEOUT_S = 10.0


class Pass(NamedTuple):
    """An admitted request: the id of its reservation, and the ticket for the back door."""

    request_id: str
    ticket: str


async def check(
    stage: Stage, route: str, headers: Mapping[str, str], *, worker: int = 0
) -> CheckResponse:
    """What one worker of the front door answers to a check of that route."""
    request = CheckRequest()
    request.attributes.context_extensions["tollkeeper.route"] = route
    http = request.attributes.request.http
    http.method, http.path = "GET", "/"
    http.headers.update(headers)
    address = str(stage.stack.settings.authz_addresses[worker])
    async with grpc.aio.insecure_channel(address) as channel:
        answer: CheckResponse = await AuthorizationStub(channel).Check(request, timeout=TIMEOUT_S)
    return answer


async def admit(stage: Stage, customer: Customer, route: str = "ping") -> Pass:
    """Let a request in that Envoy knows nothing of: whoever asks must tell its end as well."""
    answer = await check(stage, route, customer.headers)
    assert answer.status.code == 0, answer
    ticket = answer.dynamic_metadata.fields["ticket"].string_value
    added = {one.header.key: one.header.value for one in answer.ok_response.response_headers_to_add}
    return Pass(added["x-request-id"], ticket)


def entry(
    ticket: str | None,
    *,
    kind: AccessLogType = AccessLogType.DownstreamEnd,
    code: int = 200,
    usage: Mapping[str, Any] | None = None,
) -> HTTPAccessLogEntry:
    """One entry as Envoy would write it, of an answer that came at the first attempt."""
    found = HTTPAccessLogEntry()
    common = found.common_properties
    common.access_log_type = kind
    common.upstream_request_attempt_count = 1
    common.start_time.FromMilliseconds(int(time.time() * 1_000))
    common.duration.FromMilliseconds(20)
    found.response.response_code.value = code
    if ticket is not None:
        fields = common.metadata.filter_metadata[TICKET_NAMESPACE].fields
        fields["ticket"].string_value = ticket
    for name, value in (usage or {}).items():
        common.metadata.filter_metadata[USAGE_NAMESPACE].update({name: value})
    return found


def message(*entries: HTTPAccessLogEntry) -> bytes:
    """One message of the stream."""
    found = StreamAccessLogsMessage()
    found.identifier.log_name = "tollkeeper"
    found.http_logs.log_entry.extend(entries)
    return found.SerializeToString()


async def tell_sink(stage: Stage, messages: Iterable[bytes]) -> None:
    """One stream to the sink, to its end."""
    address = str(stage.stack.settings.accesslog_listen)
    async with grpc.aio.insecure_channel(address) as channel:
        stream: grpc.aio.StreamUnaryMultiCallable[bytes, bytes]
        stream = channel.stream_unary(SINK_METHOD)
        await stream(iter(messages), timeout=TIMEOUT_S)


def seal_of(stage: Stage) -> TicketSeal:
    """The seal with the stack's own secret: for tickets that are genuine and yet odd."""
    return TicketSeal(stage.stack.settings.ticket_secrets)


def opened(stage: Stage, ticket: str) -> Ticket:
    """What stands in a ticket of the stack."""
    found = seal_of(stage).open(ticket)
    assert isinstance(found, Ticket)
    return found
