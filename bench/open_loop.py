"""Latency at a rate that does not wait for answers (an open loop).

    python -m bench.open_loop URL RATE SECONDS METHOD PATH BODY_FILE KEYS_FILE

Requests have their times beforehand. A request whose turn comes while its connection still waits
for the last answer is late by the gateway's fault, so its time counts from its turn; one that the
generator itself sends late counts from when it was sent. How late that is, is told beside.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.client import percentile_ms
from bench.http1 import Answers, request_bytes

PER_CONNECTION = 40
"""Requests a second of one connection: at 10 ms an answer it is idle for more than half."""
SWITCH_S = 1e-4


class Lane(threading.Thread):
    """One connection and its times."""

    def __init__(
        self, where: tuple[str, int], dues_s: Sequence[float], requests: Sequence[bytes]
    ) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_connection(where, timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._dues_s = dues_s
        self._requests = requests
        self.took_s: list[float] = []
        self.late_s: list[float] = []
        self.refused = 0

    def run(self) -> None:
        """Send each request at its time."""
        answers = Answers()
        for due_s, request in zip(self._dues_s, self._requests, strict=True):
            ready_s = time.perf_counter()
            if ready_s < due_s:
                time.sleep(due_s - ready_s)
            sent_s = time.perf_counter()
            self._socket.sendall(request)
            statuses: list[int] = []
            while not statuses:
                statuses = answers.feed(self._socket.recv(65_536))
            ended_s = time.perf_counter()
            self.took_s.append(ended_s - (due_s if ready_s > due_s else sent_s))
            self.late_s.append(sent_s - max(due_s, ready_s))
            self.refused += not 200 <= statuses[0] < 300


def run(
    url: str, rate: float, seconds: float, requests: Sequence[bytes]
) -> tuple[list[float], list[float], int]:
    """Times and latenesses, sorted, and how many were refused."""
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    count = max(1, round(rate * seconds))
    lanes_count = max(1, round(rate / PER_CONNECTION))
    began_s = time.perf_counter() + 0.2
    lanes = []
    for number in range(lanes_count):
        mine = range(number, count, lanes_count)
        dues_s = [began_s + index / rate for index in mine]
        sent = [requests[index % len(requests)] for index in mine]
        lanes.append(Lane((where.hostname, where.port), dues_s, sent))
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    took_s = sorted(took for lane in lanes for took in lane.took_s)
    if len(took_s) != count:
        raise SystemExit(f"{count - len(took_s)} requests were not answered")
    late_s = sorted(late for lane in lanes for late in lane.late_s)
    return took_s, late_s, sum(lane.refused for lane in lanes)


def main() -> None:
    """See the module's text."""
    url, rate, seconds, method, path, body_file, keys_file = sys.argv[1:]
    sys.setswitchinterval(SWITCH_S)
    body = b"" if body_file == "-" else Path(body_file).read_bytes()
    host = urlsplit(url).netloc
    keys = Path(keys_file).read_text().split()
    requests = [request_bytes(method, path, host, key, body) for key in keys]
    gc.disable()
    took_s, late_s, refused = run(url, float(rate), float(seconds), requests)
    told = {
        "done": len(took_s),
        "refused": refused,
        **{f"p{part}_ms": percentile_ms(took_s, part / 100) for part in (50, 90, 99)},
        "generator_late_p50_ms": percentile_ms(late_s, 0.5),
        "generator_late_p99_ms": percentile_ms(late_s, 0.99),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
