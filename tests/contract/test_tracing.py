"""Spans as they are made by what answers, on both transports, kept in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from billing.stores.memory_ledger import MemoryLedgerStore
from devstack import free_port
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from extauthz.limits import CheckLimits
from extauthz.server import AuthorizationServer
from tests.unit.extauthz.front_door import FrontDoor, envoy_check, make_front_door
from tollkeeper.addresses import Address
from tollkeeper.direct.server import DirectServer
from tollkeeper.hosted.traced_calls import TracedCalls
from tollkeeper.tracing import CHECK, Tracing
from tollkeeper.unary.frames import HEADER_BYTES, write_frame
from tollkeeper.unary.health import PATH as HEALTH
from tollkeeper.unary.health import health_method
from tollkeeper.unary.method import Method
from tollkeeper.unary.roles import Served, _check_fault
from tollkeeper.unary.trace_headers import with_trace_headers

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SERVING = health_pb2.HealthCheckResponse.SERVING
KEPT, NOT_KEPT = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class Asks(Protocol):
    """Sends a message as a call of a method, with metadata; raises :class:`Refused`."""

    async def __call__(self, path: str, wire: bytes, *metadata: tuple[str, str]) -> bytes: ...


class Refused(Exception):
    """A call that ended with another status than OK."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Traced:
    """A traced front door, a way to call it, and the spans that were made."""

    door: FrontDoor
    ask: Asks
    exporter: InMemorySpanExporter

    async def check(self, wire: bytes, *metadata: tuple[str, str]) -> CheckResponse:
        return CheckResponse.FromString(await self.ask(CHECK, wire, *metadata))

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()


@pytest_asyncio.fixture(params=["grpc", "hosted", "direct"])
async def traced(request: pytest.FixtureRequest) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = Tracing("authz", "0", 0, SimpleSpanProcessor(exporter))
    opened = {"grpc": over_grpc, "hosted": over_asgi, "direct": over_http2}[request.param]
    door = make_front_door()
    async with opened(door, tracing) as ask:
        yield Traced(door, ask, exporter)
    await tracing.close()


@asynccontextmanager
async def over_grpc(door: FrontDoor, tracing: Tracing) -> AsyncIterator[Asks]:
    """The real server of ``grpc.aio``."""
    server = AuthorizationServer(door.handler, CheckLimits(), interceptors=(tracing.checks(),))
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield asking(channel)
    await server.drain(0)


def asking(channel: grpc.aio.Channel) -> Asks:
    """Calls over a channel."""

    async def ask(path: str, wire: bytes, *metadata: tuple[str, str]) -> bytes:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        try:
            return await call(wire, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise Refused(int(error.code().value[0])) from error

    return ask


@asynccontextmanager
async def over_asgi(door: FrontDoor, tracing: Tracing) -> AsyncIterator[Asks]:
    """What answers inside an Envoy, asked as pyvoy asks it: each call is a task of its own."""
    answer = with_trace_headers(tracing.unary_checks(door.handler.check))
    methods = {
        CHECK: Method(answer, _check_fault, CheckLimits().max_message_bytes),
        HEALTH: health_method((), lambda: False),
    }
    calls = TracedCalls(methods, asyncio.get_running_loop())

    async def ask(path: str, wire: bytes, *metadata: tuple[str, str]) -> bytes:
        headers = [(b"content-type", b"application/grpc")]
        headers += [(name.encode(), value.encode()) for name, value in metadata]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": write_frame(wire), "more_body": False}

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        await asyncio.create_task(calls.answer(scope, receive, send))
        told = dict(header for event in sent for header in event.get("headers", ()))
        if told[b"grpc-status"] != b"0":
            raise Refused(int(told[b"grpc-status"]))
        return b"".join(event.get("body", b"") for event in sent)[HEADER_BYTES:]

    yield ask


@asynccontextmanager
async def over_http2(door: FrontDoor, tracing: Tracing) -> AsyncIterator[Asks]:
    """The real server of the direct transport."""
    answer = with_trace_headers(tracing.unary_checks(door.handler.check))
    methods = {
        CHECK: Method(answer, _check_fault, CheckLimits().max_message_bytes),
        HEALTH: health_method((), lambda: False),
    }
    server = DirectServer(methods, asyncio.get_running_loop(), traced=True)
    port = free_port()
    await server.start(Address("127.0.0.1", port))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield asking(channel)
    server.close()


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
    assert about["tollkeeper.request_id"] == request_id(answer)
    assert str(key) not in span.to_json()


def request_id(answer: CheckResponse) -> str:
    """The reservation's id, as the client is told it."""
    options = answer.ok_response.response_headers_to_add
    (told,) = {o.header.value for o in options if o.header.key == "x-request-id"}
    return told


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
    told = await traced.ask(HEALTH, b"", ("traceparent", KEPT))
    assert health_pb2.HealthCheckResponse.FromString(told).status == SERVING
    assert traced.spans() == ()


async def test_checks_at_once_keep_their_traces_apart(traced: Traced) -> None:
    """Each span belongs to the trace of its own call."""
    key = traced.door.customer()
    traces = [f"{number:032x}" for number in range(1, 21)]
    wires = [envoy_check("ping", key) for _ in traces]
    parents = [("traceparent", f"00-{trace}-{PARENT}-01") for trace in traces]
    answers = await asyncio.gather(*map(traced.check, wires, parents))
    ids = {f"{span.context.trace_id:032x}": dict(span.attributes or {}) for span in traced.spans()}
    told = [ids[trace]["tollkeeper.request_id"] for trace in traces]
    assert told == [request_id(answer) for answer in answers]


@pytest.mark.parametrize("metadata", [(("traceparent", KEPT),), ()])
async def test_a_fault_is_told_by_its_span(
    traced: Traced, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Bytes that are no check end as an error, in the trace as on the wire, and never as UNKNOWN,
    which Envoy might let pass."""
    with pytest.raises(Refused) as failed:
        await traced.ask(CHECK, b"\xff\xff\xff", *metadata)
    assert failed.value.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [span.status.is_ok for span in traced.spans()] == [False] * len(metadata)


def test_a_role_without_traces_loads_nothing_of_them() -> None:
    """Its calls are those that look at no trace header, and there is no tracer; Redis's client
    loads OpenTelemetry's interface by itself."""
    assert not Served("", CollectorRegistry(), {}, ()).traced
    asked = "import sys, tollkeeper.serve; print('tollkeeper.tracing' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"


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
