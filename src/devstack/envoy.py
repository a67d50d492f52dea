"""A real Envoy of our own, over a bootstrap file that the caller wrote."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import psutil

from devstack.errors import PartFailed
from devstack.part import Part, Report, silent
from devstack.parts import envoy_binary
from devstack.ports import LOOPBACK
from devstack.process import Command, run_to_end

READY_TIMEOUT_S = 2.0
FILE_FLUSH_MS = 200
"""How much of its access-log file a killed Envoy may take with it; Envoy's own default is 10 s."""
VALIDATE_TIMEOUT_S = 30.0


class Envoy(Part):
    """Envoy over ``bootstrap``, whose admin interface must listen on loopback ``admin_port``.

    ``env`` is added to its environment (a module that hosts Python needs that); ``concurrency`` is
    the number of worker threads.
    """

    def __init__(
        self,
        data_dir: Path,
        bootstrap: Path,
        admin_port: int,
        *,
        name: str = "envoy",
        concurrency: int = 2,
        log_level: str = "warning",
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 30.0,
        report: Report = silent,
    ) -> None:
        super().__init__(name, data_dir, start_timeout_s=start_timeout_s, report=report)
        self.bootstrap = bootstrap.absolute()
        self.admin_port = admin_port
        self.concurrency = concurrency
        self.log_level = log_level
        self.env = dict(env or {})

    @property
    def address(self) -> str:
        """``host:port`` of the admin interface."""
        return f"{LOOPBACK}:{self.admin_port}"

    def command(self) -> Command:
        """Envoy without hot restart, whose shared memory would tie two stacks together."""
        return Command(
            argv=(
                *(str(envoy_binary()), "--config-path", str(self.bootstrap)),
                *("--disable-hot-restart", "--concurrency", str(self.concurrency)),
                *("--log-level", self.log_level),
                *("--file-flush-interval-msec", str(FILE_FLUSH_MS)),
            ),
            env=self.env,
        )

    async def answers(self) -> bool:
        """Whether this very process, not another one on its port, says that it is live."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                live = await _status(self.admin_port, "/ready") == 200
        except (OSError, TimeoutError):
            return False
        return live and await asyncio.to_thread(_listens, self.pid, self.admin_port)


class InvalidBootstrap(Exception):
    """Envoy does not accept a bootstrap file; says what Envoy said."""


async def validate(bootstrap: Path, log_path: Path, env: Mapping[str, str] | None = None) -> None:
    """Let Envoy judge a bootstrap file; raises InvalidBootstrap. Its words stay in ``log_path``."""
    command = Command(
        argv=(str(envoy_binary()), "--mode", "validate", "--config-path", str(bootstrap)),
        env=dict(env or {}),
    )
    await asyncio.to_thread(log_path.unlink, missing_ok=True)
    try:
        await run_to_end("envoy --mode validate", command, log_path, VALIDATE_TIMEOUT_S)
    except PartFailed as failed:
        raise InvalidBootstrap("\n".join(failed.log_lines)) from failed


async def _status(port: int, path: str) -> int:
    """The HTTP status of a GET; raises OSError when the answer is not HTTP."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        words = (await reader.readline()).split()
        await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionResetError("no HTTP answer")
    return int(words[1])


def _listens(pid: int, port: int) -> bool:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:  # it is ending: gone, or a zombie whose files nobody may read
        return False
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in connections
    )
