"""A rate-limit service in this process, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx

from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from envoyapi.ratelimit_v3_pb2_grpc import RateLimitServiceStub
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
        """Overall codes: ``.`` for OK, ``x`` for over."""
        answers = [await self.ask(*words) for _ in range(times)]
        over = RateLimitResponse.OVER_LIMIT
        return "".join("x" if answer.overall_code == over else "." for answer in answers)

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


async def until(met: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until an awaited condition holds."""
    async with asyncio.timeout(timeout_s):
        while not await met():  # type: ignore[misc]
            await asyncio.sleep(0.02)
