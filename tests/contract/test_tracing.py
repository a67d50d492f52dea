"""Spans as they are made by the real server, kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from billing.stores.memory_ledger import MemoryLedgerStore
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from extauthz.limits import CheckLimits
from extauthz.server import AuthorizationServer
from tests.unit.extauthz.front_door import FrontDoor, envoy_check, make_front_door
from tollkeeper.tracing import CHECK, Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
KEPT, NOT_KEPT = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@dataclass
class Traced:
    """A traced front door, a channel to it, and the spans that were made."""

    door: FrontDoor
    channel: grpc.aio.Channel
    exporter: InMemorySpanExporter

    async def check(self, wire: bytes, *metadata: tuple[str, str]) -> CheckResponse:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(CHECK)
        return CheckResponse.FromString(await call(wire, metadata=metadata))

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


@pytest_asyncio.fixture
async def traced() -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = Tracing("authz", "0", 0, SimpleSpanProcessor(exporter))
    door, limits = make_front_door(), CheckLimits()
    server = AuthorizationServer(door.handler, limits, interceptors=(tracing.checks(),))
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Traced(door, channel, exporter)
    await server.drain(0)
    await tracing.close()


async def test_a_check_is_a_child_of_what_envoy_tells(traced: Traced) -> None:
    """With the decision, the request's id and who paid; nothing of the key."""
    key = traced.door.customer()
    answer = await traced.check(envoy_check("ping", key), ("traceparent", KEPT))
    (span,) = traced.spans()
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    about = dict(span.attributes or {})
    assert about["tollkeeper.decision"] == "allowed"
    assert about["tollkeeper.account"] == answer.dynamic_metadata["account"]
    (told,) = {
        option.header.value
        for option in answer.ok_response.response_headers_to_add
        if option.header.key == "x-request-id"
    }
    assert about["tollkeeper.request_id"] == told
    assert str(key) not in span.to_json()


async def test_without_a_tracer_in_envoy_the_header_counts(traced: Traced) -> None:
    """The checked request's own ``traceparent`` joins; a refusal tells its code."""
    request = CheckRequest.FromString(envoy_check("ping"))
    request.attributes.request.http.headers["traceparent"] = KEPT
    await traced.check(request.SerializeToString())
    (span,) = traced.spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert dict(span.attributes or {})["tollkeeper.decision"] == "missing_key"


@pytest.mark.parametrize("sent", [("traceparent", NOT_KEPT), ("traceparent", "nonsense"), None])
async def test_who_began_the_trace_decides(traced: Traced, sent: tuple[str, str] | None) -> None:
    """At 0 percent nothing is kept that nobody asked to keep, and the check is answered."""
    metadata = () if sent is None else (sent,)
    answer = await traced.check(envoy_check("ping", traced.door.customer()), *metadata)
    assert answer.HasField("ok_response")
    assert traced.spans() == ()


async def test_other_calls_of_the_port_are_not_traced(traced: Traced) -> None:
    """Health checks come ten times a second."""
    stub = health_pb2_grpc.HealthStub(traced.channel)
    await stub.Check(health_pb2.HealthCheckRequest(), metadata=(("traceparent", KEPT),))
    assert traced.spans() == ()


async def test_a_fault_is_told_by_its_span(traced: Traced) -> None:
    """Bytes that are no check end as an error, in the trace as on the wire."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await traced.check(b"\xff\xff\xff", ("traceparent", KEPT))
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    (span,) = traced.spans()
    assert not span.status.is_ok


async def test_a_settled_batch_is_a_span() -> None:
    """With its size, and the ledger is otherwise the same."""
    exporter = InMemorySpanExporter()
    tracing = Tracing("accesslog", "0", 100, SimpleSpanProcessor(exporter))
    inner = MemoryLedgerStore()
    ledger = tracing.ledger(inner)
    settled = await ledger.settle([], 1)
    assert settled.conflicts == ()
    (span,) = exporter.get_finished_spans()
    assert span.name == "settle batch"
    assert dict(span.attributes or {}) == {
        "tollkeeper.settlements": 0,
        "tollkeeper.conflicts": 0,
    }
    assert ledger.quarantine == inner.quarantine
    await tracing.close()
