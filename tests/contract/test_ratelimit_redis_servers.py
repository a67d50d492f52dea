"""Ways to a Redis: password, user, database, TLS, and the master that Sentinel names."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devstack import Redis
from devstack.parts import redis_server_binary
from devstack.ports import free_port
from devstack.resp import RedisRefused, ask
from ratelimit.algorithms import Group
from ratelimit.errors import SettingRefused, StoreUnavailable
from ratelimit.limits import Limit
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings
from ratelimit.stores.opening import open_store
from ratelimit.units import SECOND_US, Unit

T0_US = 1_700_000_000 * SECOND_US
LIMIT = Limit(1000, Unit.HOUR)
LANE = LaneSettings(
    deadline_ms=3_000, probe_deadline_ms=3_000, breaker_probe_interval_ms=50, breaker_faults=2
)


async def used(settings: RedisSettings) -> int:
    """Hits of one counter after one more; raises what the store raises."""
    opened = open_store(RateLimitSettings(redis=settings, lane=LANE))
    try:
        await opened.warm_up()
        (reading,) = await opened.store.draw(Group([LIMIT.draw("rl:k", 1, T0_US)]))
    finally:
        await opened.store.close()
    return reading.after


async def test_a_password(tmp_path: Path) -> None:
    """In the URL or beside it; without it, or with another, the fault says so."""
    async with Redis(tmp_path) as server:
        await ask(server.port, "CONFIG", "SET", "requirepass", "p@ss")
        assert await used(RedisSettings(f"redis://:p%40ss@{server.address}")) == 1
        assert await used(RedisSettings(server.url, password="p@ss")) == 2
        for wrong in ("", "other"):
            with pytest.raises(StoreUnavailable, match="authentication") as caught:
                await used(RedisSettings(server.url, password=wrong))
            assert "p@ss" not in str(caught.value)


async def test_a_user_with_few_rights(tmp_path: Path) -> None:
    """The few commands that the service needs are enough; a user without them is refused."""
    async with Redis(tmp_path) as server:
        rights = ["~*", "+eval", "+evalsha", "+get", "+set", "+incrby"]
        await ask(server.port, "ACL", "SETUSER", "limits", "on", ">secret", *rights)
        await ask(server.port, "ACL", "SETUSER", "reader", "on", ">secret", "~rl:*", "+get")
        assert await used(RedisSettings(f"redis://limits:secret@{server.address}")) == 1
        assert await used(RedisSettings(server.url, username="limits", password="secret")) == 2
        with pytest.raises(StoreUnavailable, match="refused"):
            await used(RedisSettings(f"redis://reader:secret@{server.address}"))


async def test_a_second_redis_for_limits_per_second(tmp_path: Path) -> None:
    """Each of the two holds its own counters; a request that meets both is counted in both."""
    async with Redis(tmp_path / "main") as main, Redis(tmp_path / "fast") as fast:
        settings = RateLimitSettings(
            redis=RedisSettings(main.url), redis_per_second=RedisSettings(fast.url), lane=LANE
        )
        opened = open_store(settings)
        await opened.warm_up()
        draws = [
            Limit(5, unit).draw(f"k{unit.value}", 1, T0_US) for unit in (Unit.DAY, Unit.SECOND)
        ]
        for after in (1, 2, 3):
            assert [r.after for r in await opened.store.draw(Group(draws))] == [after, after]
        keys = [draw.key for draw in draws]
        assert [await ask(main.port, "EXISTS", key) for key in keys] == ["1", "0"]
        assert [await ask(fast.port, "EXISTS", key) for key in keys] == ["0", "1"]
        assert [lane.counts.requests for lane in opened.lanes()] == [3, 3]
        await opened.store.close()


async def test_a_database(tmp_path: Path) -> None:
    """Counters of one database are not those of another."""
    async with Redis(tmp_path) as server:
        for url in (f"redis://{server.address}/3", f"unix://{server.socket_path}?db=4"):
            assert await used(RedisSettings(url)) == 1
        assert await used(RedisSettings(f"unix://{server.socket_path}?db=3")) == 2


def _certificate(directory: Path, host: str) -> tuple[Path, Path]:
    """A certificate for an address that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@asynccontextmanager
async def _tls_in_front_of(server: Redis, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS and hands everything on to a Redis that does not."""

    async def handed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        await there_writer.wait_closed()

    front = await asyncio.start_server(handed_on, "127.0.0.1", 0, ssl=context)
    async with front:
        yield int(front.sockets[0].getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_tls(tmp_path: Path, host: str) -> None:
    """With the authority's file the connection is verified; by name too, unless told otherwise."""
    certificate, key = _certificate(tmp_path, host)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with Redis(tmp_path / "redis") as server, _tls_in_front_of(server, context) as port:
        url = f"rediss://127.0.0.1:{port}"
        if host == "127.0.0.1":
            assert await used(RedisSettings(url, tls_ca_file=certificate)) == 1
            with pytest.raises(StoreUnavailable, match="connection"):
                await used(RedisSettings(url))
        else:
            with pytest.raises(StoreUnavailable, match="connection"):
                await used(RedisSettings(url, tls_ca_file=certificate))
            lax = RedisSettings(url, tls_ca_file=certificate, tls_verify_hostname=False)
            assert await used(lax) == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is found when the service starts, not when it first connects."""
    missing = RedisSettings("rediss://127.0.0.1", tls_ca_file=tmp_path / "nothing.pem")
    with pytest.raises(SettingRefused, match=r"nothing\.pem"):
        open_store(RateLimitSettings(redis=missing))


@asynccontextmanager
async def _sentinel(directory: Path, master: Redis) -> AsyncIterator[int]:
    """A Sentinel that watches a master under the name `main`."""
    port = free_port()
    config = directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
    )
    process = await asyncio.create_subprocess_exec(
        str(redis_server_binary()), str(config), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await _until(lambda: ask(port, "PING"))
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _until(attempt: Callable[[], object], wanted: str = "") -> None:
    """Try until the answer holds what is wanted, for twenty seconds at most."""
    async with asyncio.timeout(20):
        while True:
            try:
                if wanted in str(await attempt()):  # type: ignore[misc]
                    return
            except (OSError, TimeoutError, RedisRefused):
                pass
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_sentinel(tmp_path: Path) -> None:
    """The master that Sentinel names is used, and the new one after a failover, without a
    restart.
    """
    async with Redis(tmp_path / "one", name="one") as one, Redis(tmp_path / "two") as two:
        await ask(two.port, "REPLICAOF", "127.0.0.1", str(one.port))
        await _until(lambda: ask(two.port, "INFO", "replication"), "master_link_status:up")
        async with _sentinel(tmp_path, one) as port:
            url = f"redis+sentinel://127.0.0.1:{port}/main"
            opened = open_store(RateLimitSettings(redis=RedisSettings(url), lane=LANE))
            group = Group([LIMIT.draw("rl:k", 1, T0_US)])
            assert (await opened.store.draw(group))[0].after == 1
            assert await ask(one.port, "DBSIZE") == "1"
            await _until(lambda: ask(port, "SENTINEL", "FAILOVER", "main"), "OK")
            await _until(lambda: ask(two.port, "INFO", "replication"), "role:master")
            await _until(lambda: ask(one.port, "INFO", "replication"), "role:slave")
            async with asyncio.timeout(10):
                while not await _counted(opened.store.draw(group)):
                    await asyncio.sleep(0.05)
            assert int(await ask(two.port, "GET", f"rl:k:{T0_US // SECOND_US // 3600 * 3600}")) >= 2
            await opened.store.close()


async def _counted(answer: object) -> bool:
    try:
        await answer  # type: ignore[misc]
    except StoreUnavailable:
        return False
    return True
