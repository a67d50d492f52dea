"""The sink on a real gRPC connection: messages, health, backpressure, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from accesslog.assembly import open_spool
from accesslog.intake import Intake
from accesslog.records import decode
from accesslog.server import SERVICE, AccessLogServer
from accesslog.settings import AccessLogSettings, ServerSettings, SpoolSettings
from accesslog.spool import Spool
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage
from envoyapi.accesslog_v3_pb2_grpc import AccessLogServiceStub
from tests.unit.accesslog.door import Door, open_door
from tests.unit.accesslog.test_entry import logged

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING
QUICK = ServerSettings(
    max_message_bytes=1 << 20, drain_notice_s=0.05, drain_idle_s=0.2, health_interval_s=0.02
)
SETTINGS = AccessLogSettings(server=QUICK, spool=SpoolSettings(32_768, 4_096, 4_096))


class Sink:
    """A running sink and a connection to it."""

    def __init__(self, door: Door, spool: Spool, server: AccessLogServer, port: int) -> None:
        self.door = door
        self.spool = spool
        self.server = server
        self.channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=(("grpc.max_send_message_length", -1),)
        )

    def stream(self) -> Any:
        return AccessLogServiceStub(self.channel).StreamAccessLogs()

    async def health(self, service: str = "") -> int:
        asked = health_pb2.HealthCheckRequest(service=service)
        answer = await health_pb2_grpc.HealthStub(self.channel).Check(asked)
        return int(answer.status)

    def tickets(self) -> list[str]:
        """The tickets in the spool, in order; they leave it by this."""
        found = []
        while taken := self.spool.take(1 << 20):
            entries = [e for record in taken for e in decode(record.payload)]
            found += [entry.ticket for entry in entries if not isinstance(entry, int)]
            self.spool.acknowledge(taken[-1].end)
        return found


@asynccontextmanager
async def running(path: Path, settings: AccessLogSettings = SETTINGS) -> AsyncIterator[Sink]:
    door = await open_door(settings)
    spool = open_spool(path, door.desk)
    metrics, notices = door.desk.around.metrics, door.desk.notices
    intake = Intake(
        spool,
        usage_headers={},
        chunk_entries=100,
        when_full="hold",
        metrics=metrics,
        notices=notices,
    )
    server = AccessLogServer(intake, settings.server, metrics, notices)
    sink = Sink(door, spool, server, await server.start("127.0.0.1:0"))
    watching = asyncio.create_task(server.watch())
    try:
        yield sink
    finally:
        await sink.channel.close()
        await server.drain(0.3)
        watching.cancel()
        await asyncio.wait([watching])
        spool.close()


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Sink]:
    async with running(tmp_path) as found:
        yield found


def message(*tickets: str) -> StreamAccessLogsMessage:
    found = StreamAccessLogsMessage()
    for ticket in tickets:
        logged(found, ticket)
    return found


async def until(holds: Callable[[], object], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.01)


async def test_messages_of_many_streams_reach_the_spool(sink: Sink) -> None:
    """Each stream's entries come in order, and a stream that is closed ends well."""
    streams = [sink.stream() for _ in range(5)]
    for n in range(10):
        for number, stream in enumerate(streams):
            await stream.write(message(f"{number}-{n}"))
    for stream in streams:
        await stream.done_writing()
        await stream
        assert await stream.code() is grpc.StatusCode.OK
    tickets = sink.tickets()
    for number in range(5):
        assert [t for t in tickets if t.startswith(f"{number}-")] == [
            f"{number}-{n}" for n in range(10)
        ]
    assert sink.door.count("streams") == 0


async def test_envoys_health_check_and_reflection_are_answered(sink: Sink) -> None:
    """Health is good by either name and unknown by another; the service can be looked up."""
    assert await sink.health() == await sink.health(SERVICE) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await sink.health("another.Service")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(sink.channel)
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert SERVICE in names


async def test_garbage_does_not_end_the_stream(sink: Sink) -> None:
    """A message that cannot be parsed is kept for a person, and the next one is taken."""
    raw: Any = sink.channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")()
    await raw.write(b"\xff\xff\xff")
    await raw.write(message("good").SerializeToString())
    await raw.done_writing()
    await raw
    first, second = sink.spool.take(1 << 20)
    assert decode(first.payload) == b"\xff\xff\xff"
    assert isinstance(decode(second.payload), list)


async def test_a_message_above_the_limit_is_refused(sink: Sink) -> None:
    """The server reads no message beyond its bound; other streams go on."""
    stream, other = sink.stream(), sink.stream()
    await stream.write(message("x" * (1 << 21)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await other.write(message("fine"))
    await until(lambda: sink.spool.records)
    assert sink.tickets() == ["fine"]


async def test_a_sender_that_goes_away_leaves_nothing_behind(sink: Sink) -> None:
    """A cancelled stream is no error and holds nothing."""
    stream = sink.stream()
    await stream.write(message("one"))
    await until(lambda: sink.spool.records)
    assert sink.door.count("streams") == 1
    stream.cancel()
    await until(lambda: sink.door.count("streams") == 0)
    assert sink.door.told == []


async def test_a_full_spool_stops_reading_and_says_so(sink: Sink) -> None:
    """Health turns to NOT_SERVING, the stream waits, and with room all of it arrives in order."""
    stream = sink.stream()
    sent = [f"{n}-{'x' * 500}" for n in range(200)]

    async def send() -> None:
        for ticket in sent:
            await stream.write(message(ticket))
        await stream.done_writing()
        await stream

    sending = asyncio.create_task(send())
    await until(lambda: sink.door.count("streams_held") == 1)
    async with asyncio.timeout(5):
        while await sink.health() != NOT_SERVING:
            await asyncio.sleep(0.01)
    assert sink.spool.size_bytes <= 32_768
    assert not sending.done()
    got: list[str] = []
    async with asyncio.timeout(10):
        while not sending.done():
            got += sink.tickets()
            await asyncio.sleep(0.01)
    await sending
    assert got + sink.tickets() == sent
    async with asyncio.timeout(5):
        while await sink.health() != SERVING:
            await asyncio.sleep(0.01)


async def test_a_drain_ends_each_stream_after_its_next_message(sink: Sink) -> None:
    """Health turns first; then a stream that sends is ended by us, with what it sent kept."""
    stream = sink.stream()
    await stream.write(message("before"))
    await until(lambda: sink.spool.records == 1)
    draining = asyncio.create_task(sink.server.drain(2.0))
    async with asyncio.timeout(2):
        while await sink.health() != NOT_SERVING:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    await stream.write(message("last"))
    await stream
    assert await stream.code() is grpc.StatusCode.OK
    await draining
    assert sink.tickets() == ["before", "last"]


async def test_a_drain_ends_idle_streams_as_well(sink: Sink) -> None:
    """A stream on which nothing comes is ended after a short while, not at the deadline."""
    stream = sink.stream()
    await stream.write(message("one"))
    await until(lambda: sink.spool.records == 1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await sink.server.drain(10.0)
    assert loop.time() - began < 3
    await stream
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_fault_of_the_sink_is_unavailable(tmp_path: Path) -> None:
    """What nobody foresaw is told once and answered with UNAVAILABLE, so that Envoy reconnects."""
    settings = replace(SETTINGS, spool=SpoolSettings(1 << 20, 1 << 16, 1 << 16))
    async with running(tmp_path, settings) as sink:

        def broken(payload: bytes) -> None:
            raise RuntimeError(f"a bug met by {len(payload)} bytes")

        sink.spool.append = broken  # type: ignore[method-assign]
        stream = sink.stream()
        await stream.write(message("one"))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stream
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "bug" not in (failed.value.details() or "")
        assert sink.door.told[0].startswith("stream_failed: RuntimeError")
        assert await sink.health() == SERVING
