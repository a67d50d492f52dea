"""The check over real gRPC, on a loopback port and on a Unix socket, as Envoy calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from billing.catalog import Posture
from billing.keys import generate_key, hash_key
from billing.reservations import Admission, Hold, JournalRow
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from envoyapi.auth_v3_pb2_grpc import AuthorizationStub
from extauthz.limits import CheckLimits
from extauthz.server import SERVICE, AuthorizationServer
from tests.unit.extauthz.front_door import (
    CREDIT,
    FrontDoor,
    HotReserver,
    Unleased,
    envoy_check,
    make_front_door,
    make_key,
    make_principal,
)

RECORDED = Path(__file__).parent / "recorded_checks"
RECORDED_KEY = generate_key(lambda alphabet: alphabet[7])
LIMITS = CheckLimits(max_in_flight=50, max_message_bytes=1 << 20)


@dataclass(frozen=True)
class Served:
    """A front door that is served, and a channel to it."""

    door: FrontDoor
    server: AuthorizationServer
    channel: grpc.aio.Channel

    async def check(self, wire: bytes, **call: object) -> CheckResponse:
        stub = AuthorizationStub(self.channel)
        response: CheckResponse = await stub.Check(CheckRequest.FromString(wire), **call)
        return response

    async def raw(self, wire: bytes) -> bytes:
        return await self.method("Check")(wire, timeout=10)

    def method(self, name: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """A method of the service, with messages as bytes."""
        found: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            f"/{SERVICE}/{name}"
        )
        return found


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    door = make_front_door(check_limits=LIMITS)
    server = AuthorizationServer(door.handler, LIMITS)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(door, server, channel)
    await server.drain(0)


class Gate(Unleased):
    """A reserver that lets go when the test says."""

    def __init__(self, inner: HotReserver) -> None:
        self.inner = inner
        self.open = asyncio.Event()
        self.arrived = 0
        self.cancelled = 0

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
        self.arrived += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await self.inner.reserve(hold, row, posture)

    async def hold_up(self, count: int) -> None:
        """Return when so many requests stand before it."""
        while self.arrived < count:
            await asyncio.sleep(0.001)


async def failure(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call  # type: ignore[misc]
    return failed.value


async def test_a_recorded_check_is_allowed_with_a_ticket(served: Served) -> None:
    """What Envoy sent is answered with headers, credential and a ticket that opens."""
    served.door.customer(balance_nanos=10**12)
    principal = make_principal(1)
    served.door.store.put(hash_key(RECORDED_KEY), principal)
    response = CheckResponse.FromString(await served.raw((RECORDED / "ping.binpb").read_bytes()))
    assert response.WhichOneof("http_response") == "ok_response"
    ticket = served.door.ticket(response)
    assert (ticket.account_id, ticket.route) == (principal.account_id, "ping")
    sent = {option.header.key: option.header.value for option in response.ok_response.headers}
    assert sent == {
        "x-tollkeeper-account": principal.account_id,
        "x-provider": "secret",
        "x-request-id": ticket.reservation_id,
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("chat_no_key", "missing_key"),
        ("chat_two_keys", "malformed_key"),
        ("chat_not_json", "bad_request_body"),
        ("chat", "unknown_model"),
        ("rpc_not_json", "bad_request_body"),
    ],
)
async def test_a_recorded_check_is_refused_with_its_reason(
    served: Served, name: str, code: str
) -> None:
    """The bad inputs that Envoy was given end as refusals, over the wire."""
    served.door.store.put(hash_key(RECORDED_KEY), make_principal(1))
    wire = await served.raw((RECORDED / f"{name}.binpb").read_bytes())
    response = CheckResponse.FromString(wire)
    assert response.dynamic_metadata.fields["refused"].string_value == code


async def test_official_stubs_and_bytes_get_the_same_answer(served: Served) -> None:
    """A client that sends messages and one that sends bytes are told the same."""
    wire = envoy_check("ping", make_key(404))
    by_message, by_bytes = await served.check(wire), await served.raw(wire)
    told = [r.denied_response.status.code for r in (by_message, CheckResponse.FromString(by_bytes))]
    assert told == [401, 401]


async def test_malformed_frames_are_the_callers_fault(served: Served) -> None:
    """What is no message is INVALID_ARGUMENT, and the connection goes on."""
    error = await failure(served.raw(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await served.check(envoy_check("ping"))).HasField("denied_response")


async def test_an_oversized_message_is_refused_unread(served: Served) -> None:
    """Beyond the bound gRPC says RESOURCE_EXHAUSTED; at a body's usual size it is served."""
    key = served.door.customer()
    error = await failure(served.check(envoy_check("ping", key, body="x" * (1 << 20))))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    response = await served.check(envoy_check("ping", key, body="x" * (1 << 19)))
    assert response.HasField("ok_response")


async def test_a_fault_of_ours_is_unavailable_and_never_unknown(served: Served) -> None:
    """Envoy lets requests pass on UNKNOWN whatever its failure mode says."""

    class Broken(Unleased):
        async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
            raise ZeroDivisionError(f"{hold.account_id} {row.route} {posture}")

    served.door.door.reserver = Broken()
    error = await failure(served.check(envoy_check("ping", served.door.customer())))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "ZeroDivision" not in (error.details() or "")


async def test_an_unknown_method_is_not_served(served: Served) -> None:
    """Nothing but Check answers under the service's name."""
    error = await failure(served.method("Other")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_too_many_checks_at_once_are_turned_away(served: Served) -> None:
    """Up to the bound they wait, one more is UNAVAILABLE, and afterwards there is room."""
    served.door.door.reserver = gate = Gate(served.door.reserver)
    wire = envoy_check("ping", served.door.customer())
    waiting = [asyncio.create_task(served.check(wire)) for _ in range(LIMITS.max_in_flight)]
    await gate.hold_up(LIMITS.max_in_flight)
    error = await failure(served.check(wire))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "too many" in (error.details() or "")
    gate.open.set()
    responses = await asyncio.gather(*waiting)
    assert all(response.HasField("ok_response") for response in responses)


async def test_a_deadline_of_the_caller_ends_the_check(served: Served) -> None:
    """When Envoy stops waiting, the reserver is told to stop as well."""
    served.door.door.reserver = gate = Gate(served.door.reserver)
    wire = envoy_check("ping", served.door.customer())
    error = await failure(served.check(wire, timeout=0.05))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    while gate.cancelled < 1 or served.door.counts.in_flight:
        await asyncio.sleep(0.001)
    assert served.door.counts.faults == {}


async def test_a_cancelled_call_ends_the_check(served: Served) -> None:
    """When the client of Envoy hangs up, nothing stays in flight."""
    served.door.door.reserver = gate = Gate(served.door.reserver)
    task = asyncio.create_task(served.check(envoy_check("ping", served.door.customer())))
    await gate.hold_up(1)
    task.cancel()
    while gate.cancelled < 1 or served.door.counts.in_flight:
        await asyncio.sleep(0.001)
    assert served.door.reserver.rows == []


async def test_compressed_messages_are_served(served: Served) -> None:
    """gzip is understood as any gRPC server understands it."""
    wire = envoy_check("ping", served.door.customer(), body="x" * 5000)
    response = await served.check(wire, compression=grpc.Compression.Gzip)
    assert response.HasField("ok_response")


async def test_checks_of_one_connection_do_not_wait_for_each_other(served: Served) -> None:
    """A refusal overtakes an admission that waits, on the same channel."""
    served.door.door.reserver = gate = Gate(served.door.reserver)
    slow = asyncio.create_task(served.check(envoy_check("ping", served.door.customer())))
    await gate.hold_up(1)
    assert (await served.check(envoy_check("ping"))).HasField("denied_response")
    assert not slow.done()
    gate.open.set()
    assert (await slow).HasField("ok_response")


async def test_many_at_once_never_overspend(served: Served) -> None:
    """Of 40 concurrent calls against a balance for 25, exactly 25 pass."""
    key = served.door.customer(balance_nanos=25 * CREDIT)
    responses: Sequence[CheckResponse] = await asyncio.gather(
        *(served.check(envoy_check("ping", key)) for _ in range(40))
    )
    assert sum(response.HasField("ok_response") for response in responses) == 25


async def test_health_says_that_it_serves(served: Served) -> None:
    """For the server and for the service by name; what is not there is unknown."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    error = await failure(stub.Check(health_pb2.HealthCheckRequest(service="another")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_names_the_service(served: Served) -> None:
    """Tools such as grpcurl find the service and its messages."""
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, described = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    assert SERVICE in {service.name for service in listed.list_services_response.service}
    assert described.file_descriptor_response.file_descriptor_proto


async def test_draining_finishes_what_is_under_way(served: Served) -> None:
    """Who was let in gets an answer; health says no; who comes later finds nobody."""
    served.door.door.reserver = gate = Gate(served.door.reserver)
    wire = envoy_check("ping", served.door.customer())
    under_way = asyncio.create_task(served.check(wire))
    await gate.hold_up(1)
    draining = asyncio.create_task(served.server.drain(10))
    await asyncio.sleep(0.05)
    error = await failure(served.check(wire))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    gate.open.set()
    assert (await under_way).HasField("ok_response")
    await draining
    await served.server.wait()


async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    """The transport of choice on one machine."""
    door = make_front_door()
    server = AuthorizationServer(door.handler, LIMITS)
    await server.start(f"unix:{tmp_path}/authz.sock")
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/authz.sock") as channel:
        response = await Served(door, server, channel).check(envoy_check("ping"))
    await server.drain(0)
    assert response.HasField("denied_response")


async def test_a_port_that_is_taken_is_an_error(served: Served) -> None:
    """Two workers never share an address by accident."""
    other = AuthorizationServer(served.door.handler, LIMITS)
    port = await other.start("127.0.0.1:0")
    third = AuthorizationServer(served.door.handler, LIMITS)
    with pytest.raises(RuntimeError):
        await third.start(f"127.0.0.1:{port}")
    await other.drain(0)
