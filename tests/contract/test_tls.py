"""Listeners with TLS: who gets in, and certificates that change while they serve."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisClusterException, RedisError

from billing.errors import ConfigError, StoreUnavailable, TollkeeperError
from billing.stores.redis_client import connect
from devstack import free_port
from tests.certificates import Authority, Pair
from tests.contract.envoy_services import until
from tests.contract.tls_clients import SERVING, gets_in, health_of, page, serial
from tests.contract.transport_bench import TRANSPORTS
from tollkeeper.addresses import Address
from tollkeeper.hosted.certificates import Certificates
from tollkeeper.hosted.parts import HostingMissing, find_host_parts
from tollkeeper.pages import pages, serve_http
from tollkeeper.settings import load_settings
from tollkeeper.stack.gateway import until_gateway_answers
from tollkeeper.stack.roles import RolePart
from tollkeeper.tls_files import ClientTls, ListenerTls
from tollkeeper.wiring.servers import open_servers
from tollkeeper.wiring.tls import server_credentials

try:
    find_host_parts()
    MISSING = ""
except HostingMissing as missing:
    MISSING = str(missing)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whoever signs for this test."""
    return Authority(tmp_path)


Serve = Callable[[ListenerTls, ClientTls], AbstractAsyncContextManager["Limits"]]


def asking(authority: Authority, own: Pair | None) -> ClientTls:
    """How whoever starts a process asks for its health."""
    files = {} if own is None else own._asdict()
    return ClientTls(ca=authority.ca, **files)


def mutual(authority: Authority) -> ListenerTls:
    pair = authority.issue("listener")
    return ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=authority.ca)


@dataclass(frozen=True)
class Limits:
    """A rate-limit service with TLS, and where its two ports are."""

    address: str
    pages: str


@pytest.fixture(params=TRANSPORTS)
def rate_limits(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Serve:
    """Serves rate limits with TLS on both ports, as a process, by one transport after the
    other."""
    if request.param == "hosted" and MISSING:
        pytest.skip(f"no hosted transport here: {MISSING}")

    @asynccontextmanager
    async def serve(tls: ListenerTls, probe: ClientTls) -> AsyncIterator[Limits]:
        found = Limits(f"127.0.0.1:{free_port()}", f"https://127.0.0.1:{free_port()}")
        env = {
            "TOLLKEEPER_HOME": str(tmp_path),
            "TOLLKEEPER_REDIS_URL": redis_url,
            "TOLLKEEPER_RATELIMIT_LISTEN": found.address,
            "TOLLKEEPER_RATELIMIT_METRICS_LISTEN": found.pages.removeprefix("https://"),
            "TOLLKEEPER_RATELIMIT_TLS": tls.model_dump_json(),
            "TOLLKEEPER_METRICS_TLS": tls.model_dump_json(),
            "TOLLKEEPER_RATELIMIT_TRANSPORT": str(request.param),
            "TOLLKEEPER_GATEWAY_SECRET": "gateway",
            "EXAMPLE_API_KEY": "upstream",
        }
        async with RolePart(
            "ratelimit",
            tmp_path,
            ("tollkeeper.serve", "ratelimit"),
            env,
            listen=found.address,
            ready_url=f"{found.pages}/readyz",
            tls=probe,
        ):
            yield found

    return serve


async def test_only_clients_with_a_certificate_get_in(
    tmp_path: Path, authority: Authority, rate_limits: Serve
) -> None:
    """Of four clients, one has a certificate of the right authority; gRPC and pages alike."""
    stranger = Authority(tmp_path, "stranger").issue("impostor")
    own = authority.issue("client")
    async with rate_limits(mutual(authority), asking(authority, own)) as served:
        async with grpc.aio.insecure_channel(served.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=5
                )
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                await client.get(f"{served.pages.replace('https', 'http')}/livez")
        for other in (None, stranger):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health_of(served.address, authority.ca, other)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            with pytest.raises(httpx.TransportError):
                await page(served.pages, authority.ca, other)
        assert await health_of(served.address, authority.ca, own) == SERVING
        assert await page(served.pages, authority.ca, own) == 200


async def test_without_an_authority_every_client_gets_in(
    tmp_path: Path, authority: Authority, rate_limits: Serve
) -> None:
    """TLS alone encrypts; a client still knows whom it talks to."""
    pair = authority.issue("listener")
    other = Authority(tmp_path, "other")
    tls = ListenerTls(certificate=pair.certificate, key=pair.key)
    async with rate_limits(tls, asking(authority, None)) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await health_of(served.address, other.ca, None)
        assert await health_of(served.address, authority.ca, None) == SERVING


async def test_a_new_certificate_is_shown_without_a_restart(
    authority: Authority, rate_limits: Serve
) -> None:
    """On both ports a client sees it soon; files that cannot be read leave the old one in force."""
    tls = mutual(authority)
    own = authority.issue("client")

    async with rate_limits(tls, asking(authority, own)) as served:
        ports = (served.address, served.pages.removeprefix("https://"))
        first = await serial(ports[0], authority.ca, own)
        assert [await serial(port, authority.ca, own) for port in ports] == [first, first]
        authority.issue("listener")
        async with asyncio.timeout(10):
            while (second := await serial(ports[0], authority.ca, own)) == first:
                await asyncio.sleep(0.1)
        assert await serial(ports[1], authority.ca, own) == second
        tls.key.unlink()
        await asyncio.sleep(1.5)  # longer than between two looks at the files
        assert [await serial(port, authority.ca, own) for port in ports] == [second, second]
        assert await health_of(served.address, authority.ca, own) == SERVING


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_pages_take_up_another_authority(
    tmp_path: Path, authority: Authority, newest: ssl.TLSVersion
) -> None:
    """Whose certificate it signed gets in from then on, and nobody else; a broken file changes
    nothing."""
    tls, own = mutual(authority), authority.issue("client")
    assert tls.client_ca is not None
    other = Authority(tmp_path, "other")
    theirs = other.issue("theirs")
    clients_ca = tmp_path / "clients.pem"
    clients_ca.write_bytes(authority.ca.read_bytes())
    async with paged(tls.model_copy(update={"client_ca": clients_ca})) as address:

        async def who_gets_in() -> list[bool]:
            return [await gets_in(address, authority.ca, pair, newest) for pair in (own, theirs)]

        assert await who_gets_in() == [True, False]
        clients_ca.write_bytes(other.ca.read_bytes())
        assert await who_gets_in() == [False, True]
        clients_ca.write_text("nothing\n")
        assert await who_gets_in() == [False, True]


async def test_the_pages_of_a_role_may_have_tls(authority: Authority) -> None:
    """Metrics and health of authorization and sink, served by the same helper."""
    own = authority.issue("client")
    async with paged(mutual(authority)) as address:
        assert await page(f"https://{address}", authority.ca, own) == 200
        with pytest.raises(httpx.TransportError):
            await page(f"https://{address}", authority.ca, None)


@pytest.mark.parametrize("missing", ["authority", "certificate"])
async def test_a_stack_that_its_own_gateway_refuses_says_so(
    tmp_path: Path, authority: Authority, missing: str
) -> None:
    """With the variable to set; at once, where it is told why."""
    other, own = Authority(tmp_path, "other"), authority.issue("client")
    files = {"ca": other.ca, **own._asdict()} if missing == "authority" else {"ca": authority.ca}
    tls = mutual(authority)
    async with paged(tls) as address:
        settings = load_settings(
            gateway_listen=address, gateway_tls=tls, gateway_client_tls=ClientTls(**files)
        )
        with pytest.raises(TollkeeperError, match="TOLLKEEPER_GATEWAY_CLIENT_TLS"):
            await until_gateway_answers(settings, deadline_s=2.0)


@asynccontextmanager
async def paged(tls: ListenerTls) -> AsyncIterator[str]:
    """Pages of a role, and where they are."""
    where = Address("127.0.0.1", free_port())
    serving = asyncio.create_task(serve_http(pages(CollectorRegistry(), {}), where, tls))
    try:
        while not await listens(where):
            await asyncio.sleep(0.02)
        yield str(where)
    finally:
        serving.cancel()
        await until(serving.done)


async def listens(where: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(where.host, where.port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_files_that_cannot_be_used_are_told_at_the_start(
    tmp_path: Path, authority: Authority, transport: str
) -> None:
    """A role with a wrong path, another's key or no authority does not start in clear, and says
    which file it is."""
    pair, other = authority.issue("listener"), authority.issue("other")
    absent, empty = tmp_path / "absent.pem", tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for files, told in (
        ({"certificate": absent, "key": pair.key}, r"absent\.pem cannot be read"),
        ({"certificate": pair.certificate, "key": other.key}, r"other\.key are no certificate"),
        ({**pair._asdict(), "client_ca": empty}, r"empty\.pem holds no certificate"),
    ):
        tls = ListenerTls(**files)
        with pytest.raises(ConfigError, match=told):
            server_credentials(tls) if transport == "grpc" else socket_of(tls)


def socket_of(tls: ListenerTls) -> None:
    certificates = Certificates(tls)
    try:
        certificates.transport_socket()
    finally:
        certificates.close()


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
