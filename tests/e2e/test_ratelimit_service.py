"""The rate-limit service as a client sees it: gRPC and HTTP, files that change, a Redis that
goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from envoyapi.ratelimit_v3_pb2_grpc import RateLimitServiceStub
from ratelimit.errors import RulesRefused
from ratelimit.server import SERVICE
from ratelimit.service import serve
from ratelimit.settings_values import RateLimitSettings
from tests.e2e.ratelimit_client import Client, running, until, write_rules


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
    assert await client.codes(f"three={'x' * 1_000_000}", times=2) == "xx"
    answer = await client.ask(*(f"many={number}" for number in range(1000)))
    assert len(answer.statuses) == 1000
    for value in ("a\nb", "a\0b", "a_b", "a:b", "a{b}", "a}b{", "", " ", "é"):
        assert await client.codes(f"three={value}", times=4) == "...x", repr(value)
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
    assert await client.codes("three=new", times=10) == "." * 9 + "x"


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
    assert await client.codes("three=a", times=4) == "...x"
    write_rules(client.rules, three=1)

    async def mended() -> bool:
        return bool((await client.ready())["rules"]["ok"])

    await until(mended)
    assert await client.codes("three=b", times=2) == ".x"


async def test_a_directory_that_is_swapped(tmp_path: Path) -> None:
    """As a ConfigMap is: a symbolic link that leads elsewhere from one moment to the next."""
    for name, three in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        write_rules(tmp_path / name, three=three)
    (tmp_path / "current").symlink_to(tmp_path / "one")
    async with running(tmp_path / "current") as client:
        assert await client.codes("three=a", times=2) == ".x"
        (tmp_path / "next").symlink_to(tmp_path / "two")
        (tmp_path / "next").replace(tmp_path / "current")
        await until(lambda: _shows(client, "requests_per_unit=2,"))
        assert await client.codes("three=b", times=3) == "..x"
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
        assert await client.codes("three=a", times=4) == "...x"


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


async def test_two_services_count_as_one(rules: Path, redis_url: str) -> None:
    """Requests that are spread over two of them share each counter."""
    async with running(rules, redis_url) as one, running(rules, redis_url) as other:
        assert await one.codes("three=shared", times=2) == ".."
        assert await other.codes("three=shared", times=2) == ".x"
