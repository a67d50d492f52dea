"""Traces by OpenTelemetry: a span for each check and each settled batch, where an endpoint is set.

Only a role with ``TOLLKEEPER_OTLP_ENDPOINT`` imports this module; without it nothing is in the way
of a request. A check's span is a child of Envoy's: Envoy sends ``traceparent``
(https://www.w3.org/TR/trace-context/) with the call, and where it has no tracer of its own the
header of the checked request counts. Whoever began the trace has decided whether it is kept;
batches, which belong to many requests, are kept by ``trace_percent``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from billing.ledger import SettledBatch, Settlement
from billing.stores.protocol import LedgerStore
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from extauthz.response import REQUEST_ID_HEADER
from extauthz.server import SERVICE as CHECK_SERVICE
from tollkeeper.settings import Settings
from tollkeeper.tls_files import ClientTls, read_tls_file

CHECK = f"/{CHECK_SERVICE}/Check"
PARENT_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()

UnaryHandler = Callable[[bytes, Any], Awaitable[bytes]]
Check = Callable[[bytes], Awaitable[bytes]]
Sent = Mapping[str, str]


class Tracing:
    """The spans of one process, handed to ``processor``."""

    def __init__(
        self, role: str, worker: str, trace_percent: int, processor: SpanProcessor
    ) -> None:
        resource = {SERVICE_NAME: f"tollkeeper-{role}", SERVICE_INSTANCE_ID: worker}
        self._provider = TracerProvider(
            sampler=ParentBased(root=TraceIdRatioBased(trace_percent / 100)),
            resource=Resource.create(resource),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(processor)
        self.tracer: Tracer = self._provider.get_tracer("tollkeeper")

    def checks(self) -> grpc.aio.ServerInterceptor:
        """What makes a span of each ``Check`` that a server of ``grpc.aio`` answers."""
        return _CheckSpans(self.tracer)

    def unary_checks(self, check: Check) -> Callable[[bytes, Sent], Awaitable[bytes]]:
        """The same for one over bytes, which hands over the call's own headers."""

        async def traced(wire: bytes, sent: Sent) -> bytes:
            return await _in_span(self.tracer, sent, wire, check)

        return traced

    def ledger(self, inner: LedgerStore) -> LedgerStore:
        """The same ledger, with a span for each batch that it settles."""
        return cast("LedgerStore", _LedgerSpans(inner, self.tracer))

    async def close(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)


def export_to(settings: Settings, role: str, worker: int = 0) -> Tracing:
    """Spans to the endpoint of the settings; one that is away loses them, and delays nobody.

    Raises :class:`~billing.errors.ConfigError` for certificates that cannot be used.
    """
    endpoint = settings.otlp_endpoint
    assert endpoint is not None, "asked for only where it is set"
    exporter = OTLPSpanExporter(
        endpoint=endpoint, insecure=endpoint.startswith("http://"), **_trust(settings.otlp_tls)
    )
    return Tracing(role, str(worker), settings.trace_percent, BatchSpanProcessor(exporter))


def _trust(tls: ClientTls | None) -> dict[str, Any]:
    """How the exporter knows the collector; :class:`ConfigError` for files it cannot use."""
    if tls is None:
        return {}
    tls.context()  # judged by Python: gRPC would be silent, and send nothing
    own = (None if path is None else read_tls_file(path) for path in (tls.key, tls.certificate))
    known: dict[str, Any] = {
        "credentials": grpc.ssl_channel_credentials(read_tls_file(tls.ca), *own)
    }
    if tls.server_name is not None:
        known["channel_options"] = (("grpc.ssl_target_name_override", tls.server_name),)
    return known


class _CheckSpans(grpc.aio.ServerInterceptor):
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler_call_details.method != CHECK:
            return handler
        sent = dict(handler_call_details.invocation_metadata or ())
        return grpc.unary_unary_rpc_method_handler(self._traced(handler.unary_unary, sent))

    def _traced(self, check: UnaryHandler, sent: dict[str, Any]) -> Any:
        async def traced(wire: bytes, context: Any) -> bytes:
            return await _in_span(self._tracer, sent, wire, lambda wire: check(wire, context))

        return traced


async def _in_span(tracer: Tracer, sent: Sent, wire: bytes, check: Check) -> bytes:
    """The answer to one check, with its span around it; ``sent`` are the call's headers."""
    parent = _parent(sent, wire)
    span = tracer.start_as_current_span("Check", context=parent, kind=SpanKind.SERVER)
    with span as current:
        answer = await check(wire)
        _describe(current, answer)
        return answer


def _parent(sent: Sent, wire: bytes) -> Context:
    if PARENT_HEADER not in sent:
        try:
            headers = CheckRequest.FromString(wire).attributes.request.http.headers
        except DecodeError:
            return Context()  # what is no check belongs to no trace, and is refused by who reads it
        sent = {name: headers[name] for name in (PARENT_HEADER, "tracestate") if name in headers}
    return _propagator.extract(sent)


def _describe(span: Span, answer: bytes) -> None:
    """What was decided, and for whom: ids and codes."""
    response = CheckResponse.FromString(answer)
    told = response.dynamic_metadata.fields
    headers = [
        *response.ok_response.response_headers_to_add,
        *response.denied_response.headers,
    ]
    for option in headers:
        if option.header.key == REQUEST_ID_HEADER:
            span.set_attribute("tollkeeper.request_id", option.header.value)
    refused = told["refused"].string_value if "refused" in told else ""
    span.set_attribute("tollkeeper.decision", refused or "allowed")
    for name in ("account", "profile", "plan"):
        if name in told:
            span.set_attribute(f"tollkeeper.{name}", told[name].string_value)


class _LedgerSpans:
    """Everything but ``settle`` goes to the ledger as it is."""

    def __init__(self, inner: LedgerStore, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def settle(self, settlements: Sequence[Settlement], now_us: int) -> SettledBatch:
        with self._tracer.start_as_current_span("settle batch") as span:
            span.set_attribute("tollkeeper.settlements", len(settlements))
            settled = await self._inner.settle(settlements, now_us)
            span.set_attribute("tollkeeper.conflicts", len(settled.conflicts))
            return settled
