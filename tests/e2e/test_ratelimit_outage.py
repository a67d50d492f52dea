"""A Redis that goes and comes back under a running rate-limit service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import grpc
import pytest

from devstack import Redis
from envoyapi.ratelimit_v3_pb2 import RateLimitResponse
from tests.e2e.ratelimit_client import Client, running, until, write_rules


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A directory of rules."""
    directory = tmp_path / "rules"
    directory.mkdir()
    write_rules(directory)
    return directory


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
        assert await client.codes("three=before", times=4) == "...x"
        for _ in range(2):
            await outage(client, redis, killed=killed)
        assert await client.codes("three=after", times=4) == "...x"
        without = 'tollkeeper_ratelimit_answers_without_store_total{answer="local"'
        assert await client.metric(without) > 0
        assert await client.metric("tollkeeper_ratelimit_local_counters ") <= 30


@pytest.mark.parametrize(
    ("on_failure", "expected"), [("deny", "xxxx"), ("allow", "...."), ("local", ".xxx")]
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
