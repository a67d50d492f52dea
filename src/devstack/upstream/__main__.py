"""``python -m devstack.upstream --listen host:port``: serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from devstack.upstream.app import Upstream
from devstack.upstream.wire import Connection

BACKLOG = 4_096


async def serve(host: str, port: int) -> None:
    """Answer until told to stop."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    upstream = Upstream()
    server = await loop.create_server(lambda: Connection(upstream), host, port, backlog=BACKLOG)
    print(f"example upstream: answers at {host}:{port}", flush=True)
    await stopped.wait()
    server.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack.upstream", description=__doc__)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    host, _, port = parser.parse_args().listen.rpartition(":")
    if not host or not port.isdecimal():
        parser.error("--listen takes host:port")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(host, int(port)))


if __name__ == "__main__":
    main()
