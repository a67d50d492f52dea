"""Listeners with TLS: who gets in, and certificates that change while they serve."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisClusterException, RedisError

from billing.errors import ConfigError, StoreUnavailable
from billing.stores.redis_client import connect
from devstack import free_port
from ratelimit.service import Listening, RateLimitTls, serve
from ratelimit.settings_values import RateLimitSettings
from tests.certificates import DNS_NAME, Authority, Pair
from tests.contract.envoy_services import until
from tollkeeper.addresses import Address
from tollkeeper.pages import pages, serve_http
from tollkeeper.settings import load_settings
from tollkeeper.tls_files import ListenerTls
from tollkeeper.wiring.servers import open_servers
from tollkeeper.wiring.tls import server_credentials

SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whoever signs for this test."""
    return Authority(tmp_path)


def mutual(authority: Authority) -> ListenerTls:
    pair = authority.issue("listener")
    return ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=authority.ca)


@asynccontextmanager
async def rate_limits(folder: Path, tls: ListenerTls) -> AsyncIterator[Listening]:
    """The rate-limit service with TLS on both of its ports."""
    rules = folder / "rules"
    rules.mkdir()
    (rules / "one.yaml").write_text("domain: one\n")
    stop, ports = asyncio.Event(), asyncio.Queue[Listening]()
    settings = RateLimitSettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0")
    encryption = RateLimitTls(server_credentials(tls), tls.uvicorn_options())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            serve(settings, rules, stop=stop, listening=ports.put_nowait, tls=encryption)
        )
        try:
            yield await ports.get()
        finally:
            stop.set()


def channel_credentials(ca: Path, own: Pair | None) -> grpc.ChannelCredentials:
    if own is None:
        return grpc.ssl_channel_credentials(ca.read_bytes())
    key, chain = own.key.read_bytes(), own.certificate.read_bytes()
    return grpc.ssl_channel_credentials(ca.read_bytes(), key, chain)


async def health_of(port: int, ca: Path, own: Pair | None) -> int:
    """The status that a gRPC client hears, with or without a certificate of its own."""
    credentials = channel_credentials(ca, own)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=5
        )
    return int(answer.status)


async def page(port: int, ca: Path, own: Pair | None) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    async with httpx.AsyncClient(verify=context) as client:
        return (await client.get(f"https://127.0.0.1:{port}/livez")).status_code


async def test_only_clients_with_a_certificate_get_in(tmp_path: Path, authority: Authority) -> None:
    """Of four clients, one has a certificate of the right authority; gRPC and pages alike."""
    stranger = Authority(tmp_path, "stranger").issue("impostor")
    own = authority.issue("client")
    async with rate_limits(tmp_path, mutual(authority)) as ports:
        assert await health_of(ports.grpc_port, authority.ca, own) == SERVING
        assert await page(ports.http_port, authority.ca, own) == 200
        for other in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health_of(ports.grpc_port, authority.ca, other)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            with pytest.raises(httpx.TransportError):
                await page(ports.http_port, authority.ca, other)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc_port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=5
                )


async def test_without_an_authority_every_client_gets_in(
    tmp_path: Path, authority: Authority
) -> None:
    """TLS alone encrypts; a client still knows whom it talks to."""
    pair = authority.issue("listener")
    other = Authority(tmp_path, "other")
    tls = ListenerTls(certificate=pair.certificate, key=pair.key)
    async with rate_limits(tmp_path, tls) as ports:
        assert await health_of(ports.grpc_port, authority.ca, None) == SERVING
        with pytest.raises(grpc.aio.AioRpcError):
            await health_of(ports.grpc_port, other.ca, None)


async def test_a_new_certificate_is_shown_without_a_restart(
    tmp_path: Path, authority: Authority
) -> None:
    """The next client sees it; files that cannot be read leave the old one in force."""
    tls = mutual(authority)
    own = authority.issue("client")

    async def shown(port: int) -> str:
        context = ssl.create_default_context(cafile=str(authority.ca))
        context.load_cert_chain(own.certificate, own.key)
        context.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=DNS_NAME
        )
        serial = str(writer.get_extra_info("peercert")["serialNumber"])
        writer.close()
        del reader
        return serial

    async with rate_limits(tmp_path, tls) as ports:
        first = await shown(ports.grpc_port)
        assert await shown(ports.grpc_port) == first
        authority.issue("listener")
        second = await shown(ports.grpc_port)
        tls.key.unlink()
        assert await shown(ports.grpc_port) == second
    assert second != first


async def test_the_pages_of_a_role_may_have_tls(authority: Authority) -> None:
    """Metrics and health of authorization and sink, served by the same helper."""
    tls, own, port = mutual(authority), authority.issue("client"), free_port()
    where = Address("127.0.0.1", port)
    serving = asyncio.create_task(serve_http(pages(CollectorRegistry(), {}), where, tls))

    async def answered() -> int:
        try:
            return await page(port, authority.ca, own)
        except httpx.ConnectError:
            return 0

    try:
        found = 0
        while not found:
            found = await answered()
            await asyncio.sleep(0.02)
        assert found == 200
        with pytest.raises(httpx.TransportError):
            await page(port, authority.ca, None)
    finally:
        serving.cancel()
        await until(serving.done)


def test_a_missing_file_is_told_at_the_start(tmp_path: Path) -> None:
    """A role with a wrong path does not start in clear, and says which file it is."""
    absent = tmp_path / "absent.pem"
    with pytest.raises(ConfigError, match=r"absent\.pem cannot be read"):
        server_credentials(ListenerTls(certificate=absent, key=absent))


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_options_of_the_url_reach_the_redis_client(
    scheme: str, authority: Authority, redis_url: str
) -> None:
    """TLS is really asked for: a Redis in clear is not talked to."""
    where = redis_url.removeprefix("redis://")
    options = f"ssl_ca_certs={authority.ca}&ssl_check_hostname=true"
    client = connect(f"{scheme}://{where}?{options}", 2.0)
    try:
        with pytest.raises((RedisError, RedisClusterException, OSError)):
            await client.ping()
    finally:
        await client.aclose()


async def test_sslmode_of_the_dsn_reaches_the_postgres_client(database: str) -> None:
    """Asked for TLS, we do not talk to a Postgres without it; the DSN's password is not told."""
    settings = load_settings(
        postgres_dsn=f"{database}{'&' if '?' in database else '?'}sslmode=require",
        redis_url="redis://127.0.0.1:1/0",
    )
    with pytest.raises(StoreUnavailable, match="SSL"):
        async with open_servers(settings, "a worker"):
            raise AssertionError("it connected in clear")
