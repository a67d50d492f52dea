"""Load on a gateway, as much as it takes: by wrk where it is installed, else by ourselves.

Each connection sends its next request when the answer to the last one is there (a closed loop):
that finds the throughput. :mod:`bench.open_loop` is for latency.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
WARM_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """A request, sent with one key after another."""

    url: str
    path: str
    keys_file: Path
    method: str = "GET"
    body_file: Path | None = None

    def arguments(self) -> tuple[str, ...]:
        """What both generators want to know."""
        body = "-" if self.body_file is None else str(self.body_file)
        return (self.method, self.path, body, str(self.keys_file))


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did. ``refused`` are answers other than 2xx, ``broken`` no answers at all."""

    done: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Good answers per second."""
        return (self.done - self.refused) / self.seconds


def generator() -> str:
    """Which generator is used; ``wrk`` is in Debian's package of that name."""
    return "wrk" if shutil.which("wrk") else "python"


async def put_load(target: Target, connections: int, seconds: float) -> Load:
    """Load the target; a load of which answers are missing is none and rises."""
    if generator() == "wrk":
        argv = (
            *("wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"),
            *("--timeout", "10s", "-s", str(SCRIPT), target.url, "--", *target.arguments()),
        )
    else:
        numbers = (str(connections), str(seconds))
        argv = (sys.executable, "-m", "bench.client", target.url, *numbers, *target.arguments())
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=PIPE)
    told, complaint = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}: {complaint.decode()}")
    load = Load(**json.loads(told.decode().strip().splitlines()[-1]))
    if load.broken or not load.done:
        raise RuntimeError(f"{load.broken} requests to {target.path} were not answered")
    return load
