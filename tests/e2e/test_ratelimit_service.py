"""The rate-limit service as a client sees it: gRPC and HTTP, files that change, a Redis that
goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from devstack import Redis
from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from envoyapi.ratelimit_v3_pb2_grpc import RateLimitServiceStub
from ratelimit.errors import RulesRefused
from ratelimit.server import SERVICE
from ratelimit.service import Listening, serve
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings

RULES = """
domain: d
on_failure: {on_failure}
descriptors:
  - {{key: three, rate_limit: {{unit: day, requests_per_unit: {three}, name: few}}}}
  - {{key: many, rate_limit: {{unit: day, requests_per_unit: 1000000}}}}
"""
# The machine that runs the tests may be busy: a deadline that holds there, far below what is
# promised.
LANE = LaneSettings(deadline_ms=100, breaker_faults=2, breaker_probe_interval_ms=100)


class Client(NamedTuple):
    """A client of a running service."""

    channel: grpc.aio.Channel
    http: httpx.AsyncClient
    rules: Path
    stop: asyncio.Event
    serving: asyncio.Task[None]

    async def ask(self, *words: str, hits: int = 1, domain: str = "d") -> RateLimitResponse:
        """One descriptor for each ``key=value``."""
        request = RateLimitRequest(domain=domain)
        for key, _, value in (word.partition("=") for word in words):
            descriptor = request.descriptors.add()
            descriptor.entries.add(key=key, value=value)
            descriptor.hits_addend.value = hits
        return await RateLimitServiceStub(self.channel).ShouldRateLimit(request)

    async def codes(self, *words: str, times: int) -> str:
        """Overall codes: ``.`` for OK, ``X`` for over."""
        answers = [await self.ask(*words) for _ in range(times)]
        over = RateLimitResponse.OVER_LIMIT
        return "".join("X" if answer.overall_code == over else "." for answer in answers)

    async def code_of(self, body: bytes) -> grpc.StatusCode:
        """How a message is answered that the client library would not send."""
        method: Any = self.channel.unary_unary(f"/{SERVICE}/ShouldRateLimit")
        code: grpc.StatusCode = await method(body).code()
        return code

    async def metric(self, line: str) -> float:
        """The value of a metric by its name and labels."""
        page = (await self.http.get("/metrics")).text
        values = [text.rpartition(" ")[2] for text in page.splitlines() if text.startswith(line)]
        return float(values[0]) if values else 0.0

    async def ready(self) -> dict:
        """What health says."""
        return (await self.http.get("/readyz")).json()


def write_rules(directory: Path, *, three: int = 3, on_failure: str = "local") -> None:
    """The rules, put in place at once."""
    text = RULES.format(three=three, on_failure=on_failure)
    (directory / ".new").write_text(text)
    (directory / ".new").replace(directory / "d.yaml")


@asynccontextmanager
async def running(
    rules: Path, redis: str = "", *, listen: str = "127.0.0.1:0", **more: object
) -> AsyncIterator[Client]:
    """The service over a Redis, or over memory, and a client of it."""
    settings = RateLimitSettings(
        listen=listen,
        http_listen="127.0.0.1:0",
        redis=RedisSettings(redis),
        lane=LANE,
        reload_poll_s=0.2,
        **more,  # type: ignore[arg-type]
    )
    stop = asyncio.Event()
    listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, rules, stop=stop, listening=listening.set_result))
    await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    ports = listening.result()
    target = listen if listen.startswith("unix:") else f"127.0.0.1:{ports.grpc_port}"
    url = f"http://127.0.0.1:{ports.http_port}"
    try:
        async with (
            grpc.aio.insecure_channel(target) as channel,
            httpx.AsyncClient(base_url=url) as http,
        ):
            yield Client(channel, http, rules, stop, serving)
    finally:
        stop.set()
        await serving


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A directory of rules."""
    directory = tmp_path / "rules"
    directory.mkdir()
    write_rules(directory)
    return directory


@pytest.fixture
async def client(rules: Path, redis_url: str) -> AsyncIterator[Client]:
    """The service over Redis."""
    async with running(rules, redis_url) as one:
        yield one


async def until(met: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until an awaited condition holds."""
    async with asyncio.timeout(timeout_s):
        while not await met():  # type: ignore[misc]
            await asyncio.sleep(0.02)


async def test_answers_over_grpc(client: Client) -> None:
    """Status by status: code, limit with its name, what remains, seconds until the reset."""
    for remaining in (2, 1, 0):
        answer = await client.ask("three=a", "many=a", "other=a")
        first, second, third = answer.statuses
        assert answer.overall_code == RateLimitResponse.OK
        assert first.limit_remaining == remaining
        assert first.current_limit.name == "few"
        assert 0 < first.duration_until_reset.seconds <= 86_400
        assert second.limit_remaining == 1_000_000 - 3 + remaining
        assert not third.HasField("current_limit")
    answer = await client.ask("three=a", "many=a")
    assert answer.overall_code == RateLimitResponse.OVER_LIMIT
    assert [status.code for status in answer.statuses] == [2, 1]


async def test_what_is_wrong_is_told_apart(client: Client) -> None:
    """Empty domain, no descriptors, no message at all: INVALID_ARGUMENT, each with its sentence."""
    for request, sentence in (
        (RateLimitRequest(descriptors=[{}]), "domain must not be empty"),
        (RateLimitRequest(domain="d"), "descriptor list must not be empty"),
        (RateLimitRequest(domain="d", descriptors=[{"limit": {"unit": 0}}]), "unit 0"),
        (RateLimitRequest(domain="d", descriptors=[{}] * 1001), "more than 1000"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await RateLimitServiceStub(client.channel).ShouldRateLimit(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert sentence in (caught.value.details() or "")
    assert await client.code_of(b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
    assert await client.metric("tollkeeper_ratelimit_invalid_requests_total") > 0


async def test_a_request_that_is_too_large(client: Client) -> None:
    """Above the transport's bound it is refused unread; the service goes on."""
    body = RateLimitRequest(domain="x" * 5_000_000).SerializeToString()
    assert await client.code_of(body) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await client.codes("three=a", times=1) == "."


async def test_strange_values(client: Client) -> None:
    """A megabyte, a thousand descriptors, control characters, hits near 2**64: each is
    answered, and values that look alike never share a counter.
    """
    assert await client.codes(f"three={'x' * 1_000_000}", times=2) == "XX"
    answer = await client.ask(*(f"many={number}" for number in range(1000)))
    assert len(answer.statuses) == 1000
    for value in ("a\nb", "a\0b", "a_b", "a:b", "a{b}", "a}b{", "", " ", "é"):
        assert await client.codes(f"three={value}", times=4) == "...X", repr(value)
    for hits in (2**64 - 1, 2**63, 2**32):
        answer = await client.ask("many=huge", hits=hits)
        assert answer.overall_code == RateLimitResponse.OVER_LIMIT


async def test_health_and_reflection(client: Client) -> None:
    """As grpc_health_probe and grpcurl ask for them."""
    stub = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    asked = iter(
        [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
    )
    listed, described = [answer async for answer in reflection.ServerReflectionInfo(asked)]
    assert SERVICE in {service.name for service in listed.list_services_response.service}
    files = [
        FileDescriptorProto.FromString(each)
        for each in described.file_descriptor_response.file_descriptor_proto
    ]
    assert "RateLimitService" in {service.name for each in files for service in each.service}


async def test_for_people_with_curl(client: Client) -> None:
    """/json answers 200 and 429, 400 for nonsense, 413 for too much; /rlconfig shows the rules."""
    body = {"domain": "d", "descriptors": [{"entries": [{"key": "three", "value": "curl"}]}]}
    answers = [await client.http.post("/json", json=body) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].json()["statuses"][0]["limitRemaining"] == 2
    assert answers[3].json()["overallCode"] == "OVER_LIMIT"
    assert (await client.http.post("/json", content=b"{")).status_code == 400
    assert (await client.http.post("/json", json={"domain": "d"})).status_code == 400
    assert (await client.http.post("/json", content=b"x" * 5_000_000)).status_code == 413
    assert (await client.http.get("/json")).status_code == 405
    rules = (await client.http.get("/rlconfig")).text
    assert "d.three: unit=DAY requests_per_unit=3" in rules
    assert (await client.http.get("/livez")).text == "OK"
    assert (await client.http.get("/healthcheck")).status_code == 200
    assert (await client.ready())["store"] == "ok"


async def test_headers_and_metadata(rules: Path) -> None:
    """Where the settings ask for them, under the names that they give."""
    async with running(rules, response_headers=True, header_limit="X-Limit") as client:
        answer = await client.ask("three=a")
    headers = {header.key: header.value for header in answer.response_headers_to_add}
    assert headers["X-Limit"] == "3"
    assert headers["RateLimit-Remaining"] == "2"
    assert int(headers["RateLimit-Reset"]) > 0


async def test_rules_change_without_a_dropped_call(client: Client) -> None:
    """While files change under load every call is answered, and the new limit holds at once."""
    answered = 0
    done = asyncio.Event()

    async def load() -> None:
        nonlocal answered
        while not done.is_set():
            answer = await client.ask("many=load")
            assert answer.overall_code == RateLimitResponse.OK
            answered += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(load())
        for three in (5, 7, 9):
            write_rules(client.rules, three=three)
            shown = f"requests_per_unit={three},"
            await until(partial(_shows, client, shown))
        done.set()
    assert answered > 20
    assert await client.codes("three=new", times=10) == "." * 9 + "X"


async def _shows(client: Client, text: str) -> bool:
    return text in (await client.http.get("/rlconfig")).text


async def test_a_broken_file_changes_nothing(client: Client) -> None:
    """The old rules stay; health and metrics say what is wrong and where, until it is mended."""
    (client.rules / "d.yaml").write_text("domain: d\ndescriptors:\n  - {key: three, limit: 5}\n")

    async def noticed() -> bool:
        return not (await client.ready())["rules"]["ok"]

    await until(noticed)
    detail = (await client.ready())["rules"]["detail"]
    assert "d.yaml:3: error: unknown field 'limit'" in detail
    assert (await client.http.get("/readyz")).status_code == 200
    assert await client.metric("tollkeeper_ratelimit_rules_ok ") == 0
    assert await client.metric('tollkeeper_ratelimit_events_total{event="rules_refused"}') == 1
    assert await client.codes("three=a", times=4) == "...X"
    write_rules(client.rules, three=1)

    async def mended() -> bool:
        return bool((await client.ready())["rules"]["ok"])

    await until(mended)
    assert await client.codes("three=b", times=2) == ".X"


async def test_a_directory_that_is_swapped(tmp_path: Path) -> None:
    """As a ConfigMap is: a symbolic link that leads elsewhere from one moment to the next."""
    for name, three in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        write_rules(tmp_path / name, three=three)
    (tmp_path / "current").symlink_to(tmp_path / "one")
    async with running(tmp_path / "current") as client:
        assert await client.codes("three=a", times=2) == ".X"
        (tmp_path / "next").symlink_to(tmp_path / "two")
        (tmp_path / "next").replace(tmp_path / "current")
        await until(lambda: _shows(client, "requests_per_unit=2,"))
        assert await client.codes("three=b", times=3) == "..X"
        write_rules(tmp_path / "two", three=4)
        await until(lambda: _shows(client, "requests_per_unit=4,"))


async def test_it_does_not_start_with_broken_rules(tmp_path: Path) -> None:
    """Nothing listens then; the caller gets every finding."""
    (tmp_path / "x.yaml").write_text("domain: x\nnonsense: 1\n")
    with pytest.raises(RulesRefused, match=r"x\.yaml:2"):
        async with running(tmp_path):
            pass


async def test_it_does_not_start_on_a_taken_port(client: Client, rules: Path) -> None:
    """The second service says which address it cannot have, and leaves nothing behind."""
    port = client.http.base_url.port
    settings = RateLimitSettings(listen="127.0.0.1:0", http_listen=f"127.0.0.1:{port}")
    with pytest.raises(BaseExceptionGroup) as caught:
        await serve(settings, rules, stop=asyncio.Event())
    assert caught.group_contains(OSError, match=f"cannot listen on 127.0.0.1:{port}")


async def test_a_unix_socket(tmp_path: Path, rules: Path) -> None:
    """For an Envoy on the same machine."""
    async with running(rules, listen=f"unix:{tmp_path}/rl.sock") as client:
        assert await client.codes("three=a", times=4) == "...X"


async def test_stopping_finishes_what_has_arrived(rules: Path, redis_url: str) -> None:
    """Calls that were sent before the end are answered; health says NOT_SERVING meanwhile."""
    async with running(rules, redis_url) as client:
        calls = [asyncio.create_task(client.ask("many=a")) for _ in range(50)]
        await calls[0]
        client.stop.set()
        await asyncio.sleep(0.1)
        health = health_pb2_grpc.HealthStub(client.channel)
        told = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await client.http.get("/readyz")).status_code == 503
        await client.serving
        answers = await asyncio.gather(*calls)
    assert {answer.overall_code for answer in answers} == {RateLimitResponse.OK}
    assert client.serving.done()


async def outage(client: Client, redis: Redis, *, killed: bool) -> None:
    """Take Redis away, look at the answers, bring it back, and wait at most two seconds."""
    loop = asyncio.get_running_loop()
    assert redis.pid is not None
    if killed:
        await redis.stop()
    else:
        os.kill(redis.pid, signal.SIGSTOP)
    slowest_s = 0.0
    for number in range(30):
        began_s = loop.time()
        answer = await client.ask(f"many={number}")
        slowest_s = max(slowest_s, loop.time() - began_s)
        assert answer.overall_code == RateLimitResponse.OK
    assert slowest_s < 1.0
    assert (await client.ready())["store"] == "breaker_open"
    if killed:
        await redis.start()
    else:
        os.kill(redis.pid, signal.SIGCONT)

    async def back() -> bool:
        return (await client.ready())["store"] == "ok"

    await until(back, timeout_s=2.0)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_redis_goes_and_comes_back(rules: Path, tmp_path: Path, killed: bool) -> None:
    """Declared answers at once while it is away, its own counts within two seconds of its
    return.
    """
    async with Redis(tmp_path / "redis") as redis, running(rules, redis.url) as client:
        assert await client.codes("three=before", times=4) == "...X"
        for _ in range(2):
            await outage(client, redis, killed=killed)
        assert await client.codes("three=after", times=4) == "...X"
        without = 'tollkeeper_ratelimit_answers_without_store_total{answer="local"'
        assert await client.metric(without) > 0
        assert await client.metric("tollkeeper_ratelimit_local_counters ") <= 30


@pytest.mark.parametrize(
    ("on_failure", "expected"), [("deny", "XXXX"), ("allow", "...."), ("local", ".XXX")]
)
async def test_the_declared_answer(rules: Path, on_failure: str, expected: str) -> None:
    """Without a Redis from the start: nobody, everybody, or a share of the limit."""
    write_rules(rules, on_failure=on_failure)
    async with running(rules, "redis://127.0.0.1:1") as client:
        assert await client.codes("three=a", times=4) == expected


async def test_an_error_as_the_declared_answer(rules: Path) -> None:
    """UNAVAILABLE, never UNKNOWN, which Envoy would let pass whatever it was told."""
    write_rules(rules, on_failure="error")
    async with running(rules, "redis://127.0.0.1:1") as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.ask("three=a")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        body = {"domain": "d", "descriptors": [{"entries": [{"key": "three"}]}]}
        assert (await client.http.post("/json", content=json.dumps(body))).status_code == 503


async def test_two_services_count_as_one(rules: Path, redis_url: str) -> None:
    """Requests that are spread over two of them share each counter."""
    async with running(rules, redis_url) as one, running(rules, redis_url) as other:
        assert await one.codes("three=shared", times=2) == ".."
        assert await other.codes("three=shared", times=2) == ".X"
