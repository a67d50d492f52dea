"""The rate-limit service alone: answers per second and p99, by algorithm and store, beside a
service that does nothing on the same transport.

    python -m bench.ratelimit [--seconds N] [--streams N] [--rounds N] [--json]

Each case is a process of its own with one event loop. Cases take turns in every round, so that what
the machine does beside them falls on all alike; the median round counts, and ratios are to the
do-nothing service of the same rounds. ``CPU`` is the server process's own time per answer.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop

from bench.grpc_load import Load, put_load
from devstack import Redis
from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from ratelimit.server import SERVICE, GrpcServer
from ratelimit.service import Listening, serve
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings

METHOD = f"/{SERVICE}/ShouldRateLimit"
KEYS = 10_000
RULES = """
domain: bench
descriptors:
  - key: account
    descriptors:
      - key: profile
        rate_limit: {{unit: {unit}, requests_per_unit: {limit}, algorithm: {algorithm}}}
"""


class Case(NamedTuple):
    """One row of the table."""

    name: str
    algorithm: str
    store: str  # "", "memory", "redis" or "redis over TCP"
    limit: int = 1_000_000
    accounts: int = KEYS


CASES = (
    Case("does nothing", "", ""),
    *(
        Case(f"{algorithm}, {store}", algorithm, store)
        for store in ("memory", "redis")
        for algorithm in ("fixed_window", "sliding_window", "token_bucket")
    ),
    Case("token_bucket, redis over TCP", "token_bucket", "redis over TCP"),
    Case("a flood of ten accounts, redis", "fixed_window", "redis", limit=5, accounts=10),
)


class Row(NamedTuple):
    """What a case did in one round."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


class Nothing:
    """Answers OK."""

    def __init__(self) -> None:
        self._answer = RateLimitResponse(overall_code=RateLimitResponse.OK).SerializeToString()

    async def should_rate_limit(self, body: bytes) -> bytes:  # noqa: ARG002 - nothing is the point
        """The same, always."""
        return self._answer


def rules_of(case: Case, directory: Path) -> Path:
    """The case's rules in a directory. A flood is refused all day."""
    unit = "day" if case.limit < 100 else "minute"
    text = RULES.format(algorithm=case.algorithm, limit=case.limit, unit=unit)
    (directory / "bench.yaml").write_text(text)
    return directory


async def serve_case(case: Case, redis: str) -> None:
    """Serve one case until standard input ends; the port is the first line of output."""
    settings = RateLimitSettings(
        listen="127.0.0.1:0",
        http_listen="",
        redis=RedisSettings(redis),
        lane=LaneSettings(deadline_ms=1000),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, sys.stdin.read)
    reading.add_done_callback(lambda _: stop.set())

    def tell(ports: Listening) -> None:
        print(ports.grpc_port, flush=True)

    if not case.store:
        server = GrpcServer(Nothing(), settings)  # type: ignore[arg-type] # it has the one method
        tell(Listening(await server.start(), 0))
        await stop.wait()
        await server.stop()
        return
    with tempfile.TemporaryDirectory() as directory:
        await serve(settings, rules_of(case, Path(directory)), stop=stop, listening=tell)


@asynccontextmanager
async def serving(case: Case, redis: Redis) -> AsyncIterator[tuple[int, psutil.Process]]:
    """A process that serves the case: its port, and the process."""
    urls = {"redis": f"unix://{redis.socket_path}", "redis over TCP": redis.url}
    words = [sys.executable, "-m", "bench.ratelimit", "--serve", case.name]
    process = await asyncio.create_subprocess_exec(
        *words,
        urls.get(case.store, ""),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.stdin.close()
        await process.wait()


def requests(accounts: int) -> Iterator[bytes]:
    """So many accounts in turn, each with a profile."""
    messages = [
        RateLimitRequest(
            domain="bench",
            descriptors=[
                {
                    "entries": [
                        {"key": "account", "value": f"0190f3a2-7b1c-7e5d-9c3e-{number:012d}"},
                        {"key": "profile", "value": "llm"},
                    ]
                }
            ],
        ).SerializeToString()
        for number in range(accounts)
    ]
    return itertools.cycle(messages)


async def measured(
    port: int, process: psutil.Process, accounts: int, streams: int, seconds: float
) -> Row:
    """One round of one case, after a moment to warm up."""
    asked = requests(accounts)
    await put_load(port, METHOD, asked, streams=streams, duration_s=0.3)
    before = process.cpu_times()
    load: Load = await put_load(port, METHOD, asked, streams=streams, duration_s=seconds)
    after = process.cpu_times()
    assert load.without_message == 0, "the service refused to answer"
    cpu_s = after.user + after.system - before.user - before.system
    answers = len(load.latencies_s)
    return Row(load.per_s, load.quantile_ms(0.5), load.quantile_ms(0.99), 1e6 * cpu_s / answers)


async def compare(streams: int, seconds: float, rounds: int) -> dict[str, Row]:
    """The median round of every case."""
    rows: dict[str, list[Row]] = {case.name: [] for case in CASES}
    with tempfile.TemporaryDirectory() as directory:
        async with Redis(Path(directory)) as redis:
            for _ in range(rounds):
                for case in CASES:
                    async with serving(case, redis) as (port, process):
                        row = await measured(port, process, case.accounts, streams, seconds)
                        rows[case.name].append(row)
    return {name: _median(found) for name, found in rows.items()}


def _median(rows: Sequence[Row]) -> Row:
    return Row(*(statistics.median(values) for values in zip(*rows, strict=True)))


def table(rows: dict[str, Row]) -> str:
    """For people."""
    base = rows[CASES[0].name]
    lines = [f"{'':34}{'answers/s':>10}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}"]
    for name, row in rows.items():
        ratio = row.per_s / base.per_s
        lines.append(
            f"{name:34}{row.per_s:10.0f}{ratio:8.2f}{row.p50_ms:9.2f}{row.p99_ms:9.2f}{row.cpu_us:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description="the rate-limit service alone")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "REDIS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        name, redis = chosen.serve
        uvloop.run(serve_case(next(case for case in CASES if case.name == name), redis))
        return
    rows = uvloop.run(compare(chosen.streams, chosen.seconds, chosen.rounds))
    told = {name: row._asdict() for name, row in rows.items()}
    print(json.dumps(told) if chosen.json else table(rows))


if __name__ == "__main__":
    main()
