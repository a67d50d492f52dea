"""One trace from Envoy through the check, as a collector gets it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.certificates import DNS_NAME, Authority
from tests.e2e.stage import CREDIT, Stage, new_stage
from tollkeeper.hosted.parts import HostingMissing, find_host_parts
from tollkeeper.stack import StackOptions

TRANSPORTS = ("grpc", "hosted")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SOON_S = 15.0
"""Both exporters send what they have every five seconds."""


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that comes, by the service that sent it; in threads, because each test has
    an event loop of its own."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, trace_pb2.Span]] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2))

    def Export(  # noqa: N802 - OpenTelemetry's name
        self, request: trace_service_pb2.ExportTraceServiceRequest, _context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for part in request.resource_spans:
            named = {entry.key: entry.value.string_value for entry in part.resource.attributes}
            for scope in part.scope_spans:
                self.spans += [(named.get("service.name", ""), span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def start(self, credentials: grpc.ServerCredentials | None) -> int:
        """Listen, in clear without credentials; returns the port."""
        add_to_server: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add_to_server(self, self._server)
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()
        return int(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.stop(None).wait()

    async def first(self, service: str, name: str) -> trace_pb2.Span:
        """The first span of a service by its name, once it has come."""
        deadline_s = time.monotonic() + SOON_S
        while True:
            for sender, span in self.spans:
                if sender == service and span.name == name:
                    return span
            assert time.monotonic() < deadline_s, f"no span {name} of {service} came"
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=TRANSPORTS)
async def collected(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Stage, Collector]]:
    """A stack that sends its traces to a collector of this module's own; by one of the transports
    over TLS, with certificates on both sides."""
    if request.param == "hosted":
        skip_unless_hosted()
    authority = Authority(tmp_path_factory.mktemp("collector"))
    encrypted = request.param == "hosted"
    with Collector() as collector:
        port = collector.start(mutual(authority) if encrypted else None)
        settings = (
            ("otlp_endpoint", f"{'https' if encrypted else 'http'}://127.0.0.1:{port}"),
            *([("otlp_tls", files_of_a_client(authority))] if encrypted else []),
            ("trace_percent", "100"),
            ("authz_transport", request.param),
        )
        found = new_stage(tmp_path_factory.mktemp("traces"), StackOptions(settings=settings))
        async with found.stack:
            yield found, collector


def mutual(authority: Authority) -> grpc.ServerCredentials:
    """Of a collector that lets in whoever has a certificate."""
    own = authority.issue("collector")
    pair = (own.key.read_bytes(), own.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], authority.ca.read_bytes(), True)


def files_of_a_client(authority: Authority) -> str:
    own = authority.issue("sender")._asdict()
    return json.dumps({"ca": authority.ca, **own, "server_name": DNS_NAME}, default=str)


async def test_one_trace_holds_the_request_and_its_check(
    collected: tuple[Stage, Collector],
) -> None:
    """The client's trace goes on in Envoy, and Envoy's in the check; the batch has its own."""
    stage, collector = collected
    customer = await stage.customer(10 * CREDIT)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with stage.client(customer) as client:
        answer = await client.get("/flat/ping", headers=headers)
    assert answer.status_code == 200

    deadline_s = time.monotonic() + SOON_S
    while not (mine := of_trace(collector)) or {"Check"} - {span.name for span in mine.values()}:
        assert time.monotonic() < deadline_s, "the check's span did not come"
        await asyncio.sleep(0.05)
    (check,) = (span for span in mine.values() if span.name == "Check")
    await until_known(mine, check, collector)
    above = ancestors(of_trace(collector), check)
    assert above[-1].parent_span_id.hex() == PARENT
    about = {entry.key: entry.value.string_value for entry in check.attributes}
    assert about["tollkeeper.request_id"] == answer.headers["x-request-id"]
    assert about["tollkeeper.account"] == customer.account_id
    batch = await collector.first("tollkeeper-accesslog", "settle batch")
    assert batch.trace_id.hex() != TRACE
    assert not any(customer.key in str(span) for _, span in collector.spans)


def skip_unless_hosted() -> None:
    try:
        find_host_parts()
    except HostingMissing as missing:
        pytest.skip(f"no hosted transport here: {missing}")


def of_trace(collector: Collector) -> dict[bytes, Any]:
    """The spans of the client's trace, by their ids."""
    return {span.span_id: span for _, span in collector.spans if span.trace_id.hex() == TRACE}


def ancestors(spans: dict[bytes, Any], span: Any) -> list[Any]:
    """A span's parent, its parent's, and so on."""
    found = []
    while (span := spans.get(span.parent_span_id)) is not None:
        found.append(span)
    return found


async def until_known(spans: dict[bytes, Any], check: Any, collector: Collector) -> None:
    """Until Envoy has sent the spans above the check, up to the client's."""
    deadline_s = time.monotonic() + SOON_S
    while True:
        above = ancestors(spans, check)
        if above and above[-1].parent_span_id.hex() == PARENT:
            return
        assert time.monotonic() < deadline_s, "Envoy's spans did not come"
        await asyncio.sleep(0.05)
        spans = of_trace(collector)
