"""The whole gateway with certificates on both sides of every call: of clients to Envoy, between
Envoy and us, and on every page."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ruamel.yaml import YAML

from tests.certificates import DNS_NAME, Authority, Pair
from tests.e2e.ledger_reading import Paid, open_books
from tests.e2e.program import program_beside
from tests.e2e.stage import CREDIT, Stage, new_stage
from tollkeeper.asking_pages import page_client, trust_of
from tollkeeper.stack import StackOptions
from tollkeeper.tls_files import ClientTls

DOORS = ("authz", "ratelimit", "accesslog")
PAGES = ("admin", "metrics")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whoever signs for clients and for what the gateway shows to them; not for us."""
    return Authority(tmp_path_factory.mktemp("public"), "public")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(
    tmp_path_factory: pytest.TempPathFactory, public: Authority
) -> AsyncIterator[Stage]:
    """A stack whose listeners all ask for certificates."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    envoy = authority.issue("envoy")
    given = (*certificates(authority, envoy), *clients_certificates(public))
    options = StackOptions(authz_workers=2, settings=given)
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
    return written(settings)


def clients_certificates(authority: Authority) -> tuple[tuple[str, str], ...]:
    """Settings of the gateway's listener and of its clients."""
    pair, client = authority.issue("gateway"), authority.issue("client")
    return written(
        {
            "gateway_tls": {**pair._asdict(), "client_ca": authority.ca},
            "gateway_client_tls": {"ca": authority.ca, **client._asdict(), "server_name": DNS_NAME},
        }
    )


def written(settings: dict[str, dict[str, object]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, json.dumps(files, default=str)) for name, files in settings.items())


def let_the_gateway_in(config_file: Path, authority: Authority, envoy: Pair) -> None:
    """The files by which the management API and the gateway know each other."""
    yaml = YAML()
    config = yaml.load(config_file.read_text())
    files = {"ca_file": authority.ca, "certificate_file": envoy.certificate, "key_file": envoy.key}
    config["upstreams"]["admin"].update({name: str(path) for name, path in files.items()})
    yaml.dump(config, config_file)


async def test_a_client_in_clear_gets_no_answer(guarded: Stage) -> None:
    """The gateway talks TLS to its clients, or not at all."""
    url = guarded.stack.gateway_url
    assert url.startswith("https://")
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"{url.replace('https', 'http')}/flat/ping")


@pytest.mark.parametrize("signed_by", ["nobody", "a stranger"])
async def test_a_client_without_a_certificate_gets_no_answer(
    guarded: Stage, tmp_path: Path, signed_by: str
) -> None:
    """Neither with none, nor with one that another authority signed."""
    tls = guarded.stack.settings.clients_tls
    assert tls is not None
    shown: dict[str, Path | None] = {"certificate": None, "key": None}
    if signed_by == "a stranger":
        shown = {**Authority(tmp_path, "stranger").issue("impostor")._asdict()}
    async with asking_as(guarded, tls.model_copy(update=shown)) as client:
        with pytest.raises(httpx.TransportError) as refused:
            await client.get("/flat/ping")
    assert "VERIFY_FAILED" not in str(refused.value), "the gateway refused, not the client"


async def test_a_client_sees_whom_it_talks_to(guarded: Stage) -> None:
    """The gateway's certificate is not of the authority that signs between Envoy and us."""
    inner = guarded.stack.settings.envoy_tls
    assert inner is not None
    async with asking_as(guarded, inner) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get("/flat/ping")


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_both_protocols_are_offered(guarded: Stage, protocol: str) -> None:
    """A client has HTTP/2 or HTTP/1.1, as it likes."""
    assert (await handshake(guarded, protocol)).selected_alpn_protocol() == protocol


async def test_a_renewed_certificate_is_shown_without_a_restart(
    guarded: Stage, public: Authority
) -> None:
    """Files that were renamed over the old ones; half of a pair leaves the old one in force."""
    tls = guarded.stack.settings.gateway_tls
    assert tls is not None
    first = await serial(guarded)
    fresh = public.issue("gateway-renewed")
    fresh.key.replace(tls.key)
    await asyncio.sleep(0.5)
    assert await serial(guarded) == first
    fresh.certificate.replace(tls.certificate)
    async with asyncio.timeout(10):
        while await serial(guarded) == first:
            await asyncio.sleep(0.05)
    async with guarded.client() as client:
        assert (await client.get("/flat/ping")).status_code == httpx.codes.UNAUTHORIZED


def asking_as(stage: Stage, tls: ClientTls) -> httpx.AsyncClient:
    return page_client(5.0, tls, trust_of(tls), stage.stack.gateway_url)


async def serial(stage: Stage) -> object:
    """Of the certificate that the gateway shows now."""
    shown = (await handshake(stage, "h2")).getpeercert()
    assert shown is not None
    return shown["serialNumber"]


async def handshake(stage: Stage, protocol: str) -> ssl.SSLObject:
    """Of a client with a certificate."""
    settings = stage.stack.settings
    tls, where = settings.clients_tls, settings.gateway_listen
    assert tls is not None
    assert where is not None
    context = tls.context()
    context.set_alpn_protocols([protocol])
    _, writer = await asyncio.open_connection(
        where.host, where.port, ssl=context, server_hostname=DNS_NAME
    )
    try:
        found: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return found
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_request_is_checked_limited_and_settled(guarded: Stage) -> None:
    """A client with a certificate pays; Envoy reaches all three doors over TLS with its own."""
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
        findings = json.loads(ran.out)
        roles = [found for found in findings if found["part"] == "roles"]
        assert [found["verdict"] for found in roles] == [verdict] * 5, roles
        assert all(found["seen"].startswith("https://") for found in roles)
    assert [f for f in findings if f["part"] == "envoy" and f["verdict"] == "bad"] == []


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
