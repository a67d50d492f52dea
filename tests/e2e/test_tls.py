"""The whole gateway with certificates on both sides of every call between Envoy and us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import DNS_NAME, Authority
from tests.e2e.ledger_reading import Paid, open_books
from tests.e2e.stage import CREDIT, Stage, new_stage
from tollkeeper.stack import StackOptions

DOORS = ("authz", "ratelimit", "accesslog")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stack whose three gRPC listeners ask for certificates."""
    folder = tmp_path_factory.mktemp("tls")
    found = new_stage(folder, StackOptions(authz_workers=2, settings=certificates(folder)))
    async with found.stack:
        yield found


def certificates(folder: Path) -> tuple[tuple[str, str], ...]:
    """Settings with a certificate for each listener, and one for Envoy."""
    authority = Authority(folder)
    envoy = authority.issue("envoy")
    client: dict[str, object] = {"ca": authority.ca}
    client |= {"certificate": envoy.certificate, "key": envoy.key}
    settings: dict[str, dict[str, object]] = {"envoy_tls": client | {"server_name": DNS_NAME}}
    for door in DOORS:
        pair = authority.issue(door)
        files: dict[str, object] = {"certificate": pair.certificate, "key": pair.key}
        settings[f"{door}_tls"] = files | {"client_ca": authority.ca}
    return tuple((name, json.dumps(files, default=str)) for name, files in settings.items())


async def test_a_request_is_checked_limited_and_settled(guarded: Stage) -> None:
    """Envoy reaches all three doors over TLS with its own certificate."""
    customer = await guarded.customer(100 * CREDIT, plan="paced")
    async with guarded.client(customer) as client:
        answers = [await client.get("/flat/ping") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    async with open_books(guarded.stack.settings) as books:
        await books.expect(customer, 100 * CREDIT, *[Paid("ping", CREDIT, 1)] * 3, released=1)


@pytest.mark.parametrize("door", DOORS)
async def test_nobody_else_gets_in(guarded: Stage, door: str) -> None:
    """Neither in clear nor over TLS without a certificate."""
    settings = guarded.stack.settings
    listen = settings.authz_addresses[0] if door == "authz" else getattr(settings, f"{door}_listen")
    assert settings.envoy_tls is not None
    trusting = grpc.ssl_channel_credentials(settings.envoy_tls.ca.read_bytes())
    target = str(listen)
    for channel in (
        grpc.aio.insecure_channel(target),
        grpc.aio.secure_channel(target, trusting),
    ):
        async with channel:
            stub = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
