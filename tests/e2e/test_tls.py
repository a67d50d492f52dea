"""The whole gateway with certificates on both sides of every call between Envoy and us, and on
every page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ruamel.yaml import YAML

from tests.certificates import DNS_NAME, Authority, Pair
from tests.e2e.ledger_reading import Paid, open_books
from tests.e2e.program import program_beside
from tests.e2e.stage import CREDIT, Stage, new_stage
from tollkeeper.stack import StackOptions

DOORS = ("authz", "ratelimit", "accesslog")


PAGES = ("admin", "metrics")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stack whose listeners all ask for certificates."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    envoy = authority.issue("envoy")
    options = StackOptions(authz_workers=2, settings=certificates(authority, envoy))
    found = new_stage(folder, options)
    let_the_gateway_in(folder / "tollkeeper.yaml", authority, envoy)
    async with found.stack:
        yield found


def certificates(authority: Authority, envoy: Pair) -> tuple[tuple[str, str], ...]:
    """Settings with a certificate for each listener, and one for Envoy."""
    client: dict[str, object] = {"ca": authority.ca, **envoy._asdict()}
    settings: dict[str, dict[str, object]] = {"envoy_tls": client | {"server_name": DNS_NAME}}
    for listener in (*DOORS, *PAGES):
        pair = authority.issue(listener)
        settings[f"{listener}_tls"] = {**pair._asdict(), "client_ca": authority.ca}
    return tuple((name, json.dumps(files, default=str)) for name, files in settings.items())


def let_the_gateway_in(config_file: Path, authority: Authority, envoy: Pair) -> None:
    """The files by which the management API and the gateway know each other."""
    yaml = YAML()
    config = yaml.load(config_file.read_text())
    files = {"ca_file": authority.ca, "certificate_file": envoy.certificate, "key_file": envoy.key}
    config["upstreams"]["admin"].update({name: str(path) for name, path in files.items()})
    yaml.dump(config, config_file)


async def test_a_request_is_checked_limited_and_settled(guarded: Stage) -> None:
    """Envoy reaches all three doors over TLS with its own certificate."""
    customer = await guarded.customer(100 * CREDIT, plan="paced")
    async with guarded.client(customer) as client:
        answers = [await client.get("/flat/ping") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    async with open_books(guarded.stack.settings) as books:
        await books.expect(customer, 100 * CREDIT, *[Paid("ping", CREDIT, 1)] * 3, released=1)


async def test_customers_read_their_account_through_the_gateway(guarded: Stage) -> None:
    """Envoy reaches the management API over TLS, with the certificate that it asks for."""
    customer = await guarded.customer(7 * CREDIT)
    async with guarded.client(customer) as client:
        answer = await client.get("/account/usage")
    assert answer.status_code == 200, answer.text
    assert guarded.stack.settings.upstream_urls["admin"].startswith("https://")


async def test_the_doctor_reads_every_page(guarded: Stage) -> None:
    """Each page is asked over TLS with the files of the settings; without them none is read."""
    files = {f"TOLLKEEPER_{n.upper()}": v for n, v in guarded.stack.options.settings}
    bare = {name: text for name, text in files.items() if name != "TOLLKEEPER_ENVOY_TLS"}
    program = program_beside(guarded)
    for variables, verdict in ((bare, "bad"), (files, "ok")):
        ran = await program.where(**variables).run("doctor", "--json")
        roles = [found for found in json.loads(ran.out) if found["part"] == "roles"]
        assert [found["verdict"] for found in roles] == [verdict] * 5, roles
        assert all(found["seen"].startswith("https://") for found in roles)


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
