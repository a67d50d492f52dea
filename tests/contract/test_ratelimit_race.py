"""Several processes on one Redis count as one."""

from __future__ import annotations

import asyncio
import sys

import pytest

from devstack import RedisCluster
from ratelimit.algorithms import Algorithm
from tests.contract.ratelimit_racer import LIMIT

PROCESSES = 4
HITS_EACH = 400


async def passed(url: str, algorithm: Algorithm) -> list[int]:
    """How many hits passed in each of the processes."""
    command = [sys.executable, "-m", "tests.contract.ratelimit_racer"]
    words = [*command, url, algorithm.name, str(HITS_EACH)]
    racers = [
        await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    outputs = await asyncio.gather(*(racer.communicate() for racer in racers))
    return [int(output) for output, _ in outputs]


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_processes_on_one_redis(redis_url: str, algorithm: Algorithm) -> None:
    """Of 1 600 hits from four processes at once exactly 500 pass."""
    counts = await passed(redis_url, algorithm)
    assert sum(counts) == LIMIT
    assert len(counts) == PROCESSES


async def test_processes_on_a_cluster(redis_cluster: RedisCluster, redis_cluster_url: str) -> None:
    """The same on three masters."""
    url = "redis+cluster://" + redis_cluster.nodes[0].address
    assert redis_cluster_url.endswith(redis_cluster.nodes[0].address + "/0")
    assert sum(await passed(url, Algorithm.TOKEN_BUCKET)) == LIMIT
