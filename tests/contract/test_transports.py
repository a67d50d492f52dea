"""One suite over all transports: what Envoy is told does not depend on what carries it.

The front door runs as its own process, with real Postgres and Redis behind it, as in production.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import grpc
import httpx
import psutil
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack import Postgres, Redis
from devstack.resp import ask
from envoyapi.auth_v3_pb2 import CheckResponse
from tests.certificates import Authority
from tests.contract.tls_clients import SERVING, channel_credentials, health_of, page
from tests.contract.transport_bench import (
    CHECK,
    SERVICE,
    TRANSPORTS,
    Installation,
    Served,
    frame,
    guarded,
    install,
    serving,
)
from tests.unit.extauthz.front_door import envoy_check
from tollkeeper.hosted.parts import HostingMissing, find_host_parts
from tollkeeper.tls_files import ClientTls, ListenerTls

pytestmark = pytest.mark.asyncio(loop_scope="module")

try:
    find_host_parts()
    MISSING = ""
except HostingMissing as missing:
    MISSING = str(missing)

OK, INTERNAL, UNIMPLEMENTED = "0", "13", "12"
DATABASE = "transports"
MAX_MESSAGE_BYTES = 5 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    postgres_server: Postgres, template_database: str, redis_server: Redis
) -> AsyncIterator[Installation]:
    """Postgres and Redis with a customer, for all tests of this module."""
    admin = await asyncpg.connect(postgres_server.dsn())
    await admin.execute(f'CREATE DATABASE "{DATABASE}" TEMPLATE "{template_database}"')
    await ask(redis_server.port, "FLUSHALL")
    yield await install(postgres_server.dsn(DATABASE), redis_server.url, redis_server.port)
    await admin.execute(f'DROP DATABASE "{DATABASE}" WITH (FORCE)')
    await admin.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def every(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, Served]]:
    """The same front door over every transport that this machine has."""
    async with AsyncExitStack() as stack:
        yield {
            transport: await stack.enter_async_context(
                serving(installation, transport, tmp_path_factory.mktemp(transport))
            )
            for transport in TRANSPORTS
            if transport != "hosted" or not MISSING
        }


@pytest.fixture(params=TRANSPORTS)
def served(request: pytest.FixtureRequest, every: Mapping[str, Served]) -> Served:
    """One transport after the other."""
    if request.param not in every:
        pytest.skip(f"no hosted transport here: {MISSING}")
    return every[request.param]


def ping(installation: Installation) -> bytes:
    return envoy_check("ping", installation.customer.key)


async def refused_by_grpc(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


def without_what_differs(response: CheckResponse) -> CheckResponse:
    """An answer without its request id, its ticket and what is left of the balance."""
    ok, denied = response.ok_response, response.denied_response
    headers = [*ok.headers, *ok.response_headers_to_add, *denied.headers]
    own_id = next(o.header.value for o in headers if o.header.key == "x-request-id")
    for option in headers:
        if option.header.key in {"x-request-id", "x-credits-remaining"}:
            option.header.value = ""
    denied.body = denied.body.replace(own_id, "")
    fields = response.dynamic_metadata.fields
    for name in [
        name for name in fields if name == "ticket" or fields[name].string_value == own_id
    ]:
        del fields[name]
    return response


@pytest.mark.parametrize(
    "case",
    [
        "ping",
        "chat",
        "ethereum",
        "no_key",
        "unknown_key",
        "unknown_route",
        "unknown_model",
        "batch",
    ],
)
async def test_all_transports_give_the_same_answer(
    every: Mapping[str, Served], installation: Installation, case: str
) -> None:
    """Allowed and refused, with every header and every field."""
    key = installation.customer.key
    call = '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'
    wire = {
        "ping": envoy_check("ping", key),
        "chat": envoy_check("chat", key, lifted={"model": "gpt-4o-mini", "max_tokens": 9}),
        "ethereum": envoy_check("ethereum", key, body=call),
        "no_key": envoy_check("ping"),
        "unknown_key": envoy_check("ping", "tk_" + "0" * 38),
        "unknown_route": envoy_check("nowhere", key),
        "unknown_model": envoy_check("chat", key, lifted={"model": "none", "max_tokens": 9}),
        "batch": envoy_check("ethereum", key, body=f"[{','.join([call] * 5_000)}]"),
    }[case]
    answers = [without_what_differs(await served.check(wire)) for served in every.values()]
    assert all(answer == answers[0] for answer in answers[1:])


async def test_an_unknown_method_and_an_unknown_service_are_unimplemented(served: Served) -> None:
    """Nothing answers but what is served."""
    for path in (f"/{SERVICE}/Other", "/other.Service/Check"):
        error = await refused_by_grpc(served.begin(b"", path=path))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_is_no_message_is_the_callers_fault(
    served: Served, installation: Installation
) -> None:
    """INVALID_ARGUMENT, and the connection goes on."""
    error = await refused_by_grpc(served.check(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await served.check(ping(installation))).HasField("ok_response")


async def test_an_oversized_message_is_refused(served: Served, installation: Installation) -> None:
    """Above the bound RESOURCE_EXHAUSTED; a body of 4 MiB is served."""
    key = installation.customer.key
    large = envoy_check("ping", key, body="x" * MAX_MESSAGE_BYTES)
    error = await refused_by_grpc(served.check(large))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    response = await served.check(envoy_check("ping", key, body="x" * (4 << 20)))
    assert response.WhichOneof("http_response") is not None


async def test_a_small_frame_never_becomes_a_large_message(served: Served) -> None:
    """The bound holds for what comes out of the compression."""
    bomb = gzip.compress(b"\0" * (16 << 20))
    assert len(bomb) < MAX_MESSAGE_BYTES
    reply = await served.raw(frame(bomb, flags=1), [("grpc-encoding", "gzip")])
    assert reply.status == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
async def test_a_compressed_message_is_read(
    served: Served, installation: Installation, encoding: str
) -> None:
    """gRPC's own encodings are accepted."""
    wire = ping(installation)
    bodies = {
        "identity": frame(wire),
        "gzip": frame(gzip.compress(wire), flags=1),
        "deflate": frame(zlib.compress(wire), flags=1),
    }
    body = bodies[encoding]
    reply = await served.raw(body, [("grpc-encoding", encoding)])
    assert reply.status == OK
    assert CheckResponse.FromString(reply.body[5:]).HasField("ok_response")


async def test_an_unknown_encoding_is_unimplemented_and_the_known_ones_are_named(
    served: Served, installation: Installation
) -> None:
    """As gRPC's protocol wants it, so that the caller can choose another."""
    reply = await served.raw(frame(ping(installation), 1), [("grpc-encoding", "snappy")])
    if served.transport == "grpc":
        # grpc's core takes it for a broken header and names nothing.
        assert reply.status == INTERNAL
        return
    assert reply.status == UNIMPLEMENTED
    known = reply.headers["grpc-accept-encoding"]
    assert known.split(",") == ["identity", "deflate", "gzip"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(frame(b"\xff", flags=1), id="compressed without an encoding"),
        pytest.param(frame(b"\xff", size_bytes=10), id="shorter than it says"),
        pytest.param(b"\0\0", id="no whole header"),
        pytest.param(frame(b"\xff", flags=6), id="unknown flags"),
        pytest.param(frame(b"\xff") * 2, id="two messages"),
        pytest.param(b"", id="no message"),
    ],
)
async def test_a_malformed_frame_is_never_let_pass(served: Served, body: bytes) -> None:
    """It is a fault by its status. ``grpc.aio`` ignores flags that it does not know, and
    says nothing to a message that never ends, which Envoy ends at its timeout. Never UNKNOWN."""
    try:
        reply = await served.raw(body)
    except TimeoutError:
        assert served.transport == "grpc"
        return
    if served.transport == "grpc" and reply.status == OK:
        assert CheckResponse.FromString(reply.body[5:]).HasField("denied_response")
        return
    assert reply.status not in {"", OK, str(grpc.StatusCode.UNKNOWN.value[0])}


async def test_a_deadline_ends_the_check_and_its_hold(
    served: Served, installation: Installation
) -> None:
    """While Redis does not answer the caller is told in time, and the hold does not stay."""
    before = await installation.journaled(served, ping(installation))
    await installation.hold_redis(300)
    error = await refused_by_grpc(served.check(ping(installation), 0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await ended_soon(installation, before + 1)


async def test_a_caller_that_leaves_releases_its_hold(
    served: Served, installation: Installation
) -> None:
    """A cancelled check holds nothing for longer than a moment."""
    before = await installation.journaled(served, ping(installation))
    await installation.hold_redis(300)
    call = served.begin(ping(installation))
    await asyncio.sleep(0.05)
    call.cancel()
    assert await ended_soon(installation, before + 1)


async def ended_soon(installation: Installation, count: int) -> bool:
    """Whether the last reservation of so many is due already."""
    async with asyncio.timeout(5):
        while len(left := await installation.seconds_left()) < count:
            await asyncio.sleep(0.05)
    return left[0] < 5


async def test_many_streams_share_a_connection(served: Served, installation: Installation) -> None:
    """Five hundred checks at once are all answered, each with its own reservation."""
    wire = ping(installation)
    answers = await asyncio.gather(*(served.check(wire) for _ in range(500)))
    tickets = {a.dynamic_metadata.fields["ticket"].string_value for a in answers}
    assert all(answer.HasField("ok_response") for answer in answers)
    assert len(tickets) == 500


async def test_health_is_told(served: Served) -> None:
    """Envoy asks for the whole; others may ask for the service, and learn what is not served."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    error = await refused_by_grpc(
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=5)
    )
    assert error.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_only_a_certificate_of_the_right_authority_gets_in(
    installation: Installation, transport: str, tmp_path: Path
) -> None:
    """In clear, without a certificate, with one of another authority, and a server that the client
    does not believe: UNAVAILABLE. With the right one checks, health and pages are answered."""
    if transport == "hosted" and MISSING:
        pytest.skip(f"no hosted transport here: {MISSING}")
    right, wrong = Authority(tmp_path), Authority(tmp_path, "stranger")
    own, impostor = right.issue("client"), wrong.issue("impostor")
    pair = right.issue("listener")
    tls = ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=right.ca)
    client = ClientTls(ca=right.ca, certificate=own.certificate, key=own.key)
    wire = ping(installation)
    async with guarded(installation, transport, tmp_path, tls, client) as (address, pages):
        for credentials in (
            None,
            channel_credentials(right.ca, None),
            channel_credentials(right.ca, impostor),
            channel_credentials(wrong.ca, own),
        ):
            error = await refused_by_grpc(checked(address, credentials, wire))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.TransportError):
            await page(pages, right.ca, None)
        answer = CheckResponse.FromString(
            await checked(address, channel_credentials(right.ca, own), wire)
        )
        assert answer.HasField("ok_response")
        assert await health_of(address, right.ca, own) == SERVING
        assert await page(pages, right.ca, own) == httpx.codes.OK


async def checked(address: str, credentials: grpc.ChannelCredentials | None, wire: bytes) -> bytes:
    """What a client with these credentials, or in clear, is answered."""
    async with (
        grpc.aio.insecure_channel(address)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials)
    ) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
        return await method(wire, timeout=5)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sigterm_finishes_what_is_in_hand(
    installation: Installation, transport: str, tmp_path: Path
) -> None:
    """A check that waits when the signal comes is answered; then the process ends well."""
    if transport == "hosted" and MISSING:
        pytest.skip(f"no hosted transport here: {MISSING}")
    async with serving(installation, transport, tmp_path) as own:
        await own.check(ping(installation))
        await installation.hold_redis(250)
        call = own.begin(ping(installation))
        await asyncio.sleep(0.05)
        os.kill(own.part.pid, signal.SIGTERM)
        assert CheckResponse.FromString(await call).HasField("ok_response")
        ended = await own.part.wait()
        assert "code 0" in str(ended)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_worker_that_dies_is_replaced(
    installation: Installation, transport: str, tmp_path: Path
) -> None:
    """Of two workers one is killed: the other goes on, and soon there are two again."""
    if transport == "hosted" and MISSING:
        pytest.skip(f"no hosted transport here: {MISSING}")
    async with serving(installation, transport, tmp_path, workers=2) as own:
        first, second = psutil.Process(own.part.pid).children()
        first.kill()
        async with asyncio.timeout(20):
            while len(alive := psutil.Process(own.part.pid).children()) < 2 or first in alive:
                await asyncio.sleep(0.05)
        assert second in alive
        answer = await own.begin(ping(installation), patient=True)
        assert CheckResponse.FromString(answer).HasField("ok_response")
