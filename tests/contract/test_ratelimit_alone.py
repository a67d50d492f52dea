"""``tollkeeper serve ratelimit --config DIR``: the program by itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from billing.stores.redis_client import connect
from devstack import Command, Redis, free_port
from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from envoyapi.ratelimit_v3_pb2_grpc import RateLimitServiceStub
from tests.certificates import Authority
from tests.contract.tls_clients import channel_credentials
from tollkeeper.stack.roles import RolePart
from tollkeeper.tls_files import ClientTls, ListenerTls

PROGRAM = str(Path(sys.executable).with_name("tollkeeper"))
RULES = """
domain: d
descriptors:
  - {key: second, rate_limit: {unit: second, requests_per_unit: 1000}}
  - {key: day, rate_limit: {unit: day, requests_per_unit: 3}}
"""
NOTHING: Mapping[str, str] = {}
PATIENT = {"TOLLKEEPER_RATELIMIT_REDIS_DEADLINE_MS": "1000"}
"""A deadline that holds on a machine on which everything else is tested as well."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A directory with one limit per second and one per day."""
    directory = tmp_path / "rules"
    directory.mkdir()
    (directory / "d.yaml").write_text(RULES)
    return directory


@pytest_asyncio.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Redis, Redis]]:
    """Two Redis servers of the test's own, both empty."""
    async with Redis(tmp_path / "main") as main, Redis(tmp_path / "fast", name="fast") as fast:
        yield main, fast


class Program(RolePart):
    """The installed program, as an operator calls it."""

    def command(self) -> Command:
        known = super().command()
        return replace(known, argv=(PROGRAM, *known.argv[2:]))


@asynccontextmanager
async def alone(
    rules: Path, *options: str, env: Mapping[str, str] = NOTHING, tls: ClientTls | None = None
) -> AsyncIterator[str]:
    """The program with these options and variables; its address. A stack knows it is ready by its
    pages, which have TLS where the variables say so."""
    listen, pages = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    places = ("--listen", listen, "--http-listen", pages)
    async with Program(
        "ratelimit",
        rules.parent / "logs",
        ("serve", "ratelimit", "--config", str(rules), *places, *options),
        {**PATIENT, **env},
        listen=listen,
        ready_url=f"{'http' if tls is None else 'https'}://{pages}/readyz",
        tls=tls,
    ):
        yield listen


async def asked(channel: grpc.aio.Channel, key: str) -> RateLimitResponse:
    """One hit on the limit of that key."""
    request = RateLimitRequest(domain="d")
    request.descriptors.add().entries.add(key=key, value="v")
    return await RateLimitServiceStub(channel).ShouldRateLimit(request, timeout=10)


async def counts(redis: Redis) -> int:
    """How often a Redis was asked to count since it started; its keys last a second, or less."""
    async with connect(redis.url, 5.0) as client:
        told = await client.info("commandstats")
    return sum(told[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in told)


async def test_limits_per_second_go_to_a_redis_of_their_own(
    rules: Path, two: tuple[Redis, Redis]
) -> None:
    """`--redis-per-second`: each limit is counted in its own Redis and nowhere else, and the one
    that is gone takes nothing of the other with it."""
    main, fast = two
    options = ("--redis", main.url, "--redis-per-second", fast.url)
    async with alone(rules, *options) as listen, grpc.aio.insecure_channel(listen) as channel:
        assert (await counts(main), await counts(fast)) == (0, 0)
        await asked(channel, "day")
        daily = await counts(main)
        assert daily > 0
        assert await counts(fast) == 0
        await asked(channel, "second")
        assert await counts(fast) > 0
        assert await counts(main) == daily
        await fast.stop()
        answers = [await asked(channel, "second") for _ in range(3)]
        assert {answer.overall_code for answer in answers} == {RateLimitResponse.OK}
        codes = [(await asked(channel, "day")).overall_code for _ in range(3)]
        assert codes == [RateLimitResponse.OK] * 2 + [RateLimitResponse.OVER_LIMIT]


async def test_variables_name_both_servers(rules: Path, two: tuple[Redis, Redis]) -> None:
    """The same without a URL, which may hold a password, on the command line; and the answer says
    what it was told to say."""
    main, fast = two
    env = {
        "TOLLKEEPER_RATELIMIT_REDIS_URL": main.url,
        "TOLLKEEPER_RATELIMIT_REDIS_PER_SECOND_URL": fast.url,
        "TOLLKEEPER_RATELIMIT_KEY_PREFIX": "mine",
        "TOLLKEEPER_RATELIMIT_RESPONSE_HEADERS": "true",
        "TOLLKEEPER_RATELIMIT_HEADER_LIMIT": "X-Most",
    }
    async with alone(rules, env=env) as listen, grpc.aio.insecure_channel(listen) as channel:
        answer = await asked(channel, "day")
        await asked(channel, "second")
    assert min(await counts(main), await counts(fast)) > 0
    async with connect(main.url, 5.0) as client:
        assert len(await client.keys("mine:*")) == await client.dbsize() > 0
    headers = {header.key: header.value for header in answer.response_headers_to_add}
    assert headers["X-Most"].startswith("3")
    assert headers["RateLimit-Remaining"] == "2"


@pytest.mark.parametrize(
    ("told", "code"), [("deny", RateLimitResponse.OVER_LIMIT), ("allow", RateLimitResponse.OK)]
)
async def test_what_is_answered_while_redis_is_away(rules: Path, told: str, code: int) -> None:
    """The operator's choice, where the domain's file says nothing."""
    away = f"redis://127.0.0.1:{free_port()}"
    env = {"TOLLKEEPER_RATELIMIT_ON_FAILURE": told}
    async with (
        alone(rules, "--redis", away, env=env) as listen,
        grpc.aio.insecure_channel(listen) as channel,
    ):
        assert (await asked(channel, "day")).overall_code == code


async def test_it_takes_tls_from_the_settings(rules: Path, tmp_path: Path) -> None:
    """In clear and without a certificate nobody gets in; with the right one requests are answered,
    and pages read."""
    authority = Authority(tmp_path)
    pair, own = authority.issue("listener"), authority.issue("client")
    listener = ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=authority.ca)
    client = ClientTls(ca=authority.ca, certificate=own.certificate, key=own.key)
    files = listener.model_dump_json()
    env = {"TOLLKEEPER_RATELIMIT_TLS": files, "TOLLKEEPER_METRICS_TLS": files}
    async with alone(rules, env=env, tls=client) as listen:
        for channel in (
            grpc.aio.insecure_channel(listen),
            grpc.aio.secure_channel(listen, channel_credentials(authority.ca, None)),
        ):
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await asked(channel, "day")
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        credentials = channel_credentials(authority.ca, own)
        async with grpc.aio.secure_channel(listen, credentials) as channel:
            assert (await asked(channel, "day")).statuses[0].limit_remaining == 2


async def test_a_second_redis_alone_is_refused(rules: Path) -> None:
    """It would be left unused: the program says so and does not start."""
    argv = ("serve", "ratelimit", "--config", str(rules), "--redis-per-second", "redis://h:1")
    program = await asyncio.create_subprocess_exec(PROGRAM, *argv, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode != 0
    assert b"needs one for the others" in said
