"""The load generator for machines without wrk: one process, as many connections as asked for.

    python -m bench.client URL CONNECTIONS SECONDS METHOD PATH BODY_FILE KEYS_FILE

It takes several times the CPU of wrk, so on a small machine it lowers every figure. Ratios stay
meaningful, and the run says which generator it used.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.http1 import Answers, request_bytes


class Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._tally = tally
        self._answers = Answers()
        self._transport: asyncio.WriteTransport | None = None
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        for status in self._answers.feed(data):
            self._tally.took_s.append(time.perf_counter() - self._sent_s)
            self._tally.refused += not 200 <= status < 300
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.broken += exc is not None or not self._tally.over

    def _send(self) -> None:
        assert self._transport is not None
        if self._tally.over:
            return
        self._sent_s = time.perf_counter()
        self._transport.write(next(self._requests))


class Tally:
    """What all connections saw."""

    def __init__(self) -> None:
        self.took_s: list[float] = []
        self.refused = 0
        self.broken = 0
        self.over = False


def percentile_ms(took_s: list[float], part: float) -> float:
    """Of sorted times."""
    return took_s[min(len(took_s) - 1, int(len(took_s) * part))] * 1000


async def run(url: str, connections: int, seconds: float, requests: list[bytes]) -> Tally:
    """Load that URL for so long."""
    where = urlsplit(url)
    assert where.hostname is not None
    tally, turns = Tally(), itertools.cycle(requests)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(turns, tally), where.hostname, where.port)
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    tally.over = True
    for transport, _ in made:
        transport.abort()
    return tally


def main() -> None:
    """See the module's text."""
    url, connections, seconds, method, path, body_file, keys_file = sys.argv[1:]
    body = b"" if body_file == "-" else Path(body_file).read_bytes()
    host = urlsplit(url).netloc
    keys = Path(keys_file).read_text().split()
    requests = [request_bytes(method, path, host, key, body) for key in keys]
    began_s = time.perf_counter()
    tally = uvloop.run(run(url, int(connections), float(seconds), requests))
    took_s = sorted(tally.took_s)
    told = {
        "done": len(took_s),
        "seconds": time.perf_counter() - began_s,
        "refused": tally.refused,
        "broken": tally.broken,
        **{
            f"p{part}_ms": percentile_ms(took_s, part / 100) if took_s else 0.0
            for part in (50, 90, 99)
        },
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
