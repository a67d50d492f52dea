"""A real Redis of our own: one node, or a cluster of three masters."""

import asyncio
import shutil
import signal
from contextlib import AsyncExitStack
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.errors import PartFailed
from devstack.part import Part, Report, silent
from devstack.parts import redis_server_binary
from devstack.ports import CLUSTER_BUS_OFFSET, LOOPBACK, free_cluster_port, free_port
from devstack.process import POLL_S, Command
from devstack.resp import RedisRefused, ask

SLOTS = 16_384
MASTERS = 3
MAX_SOCKET_PATH_CHARS = 100


class Persistence(Enum):
    """What a node keeps when it stops. Postgres is the truth, so nothing is the usual answer."""

    NOTHING = ("--save", "", "--appendonly", "no")
    APPEND_ONLY = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


class Redis(Part):
    """One Redis node over ``data_dir``."""

    def __init__(
        self,
        data_dir: Path,
        *,
        name: str = "redis",
        port: int | None = None,
        persistence: Persistence = Persistence.NOTHING,
        options: tuple[str, ...] = (),
        start_timeout_s: float = 20.0,
        report: Report = silent,
    ) -> None:
        super().__init__(name, data_dir, start_timeout_s=start_timeout_s, report=report)
        self.port = port or free_port()
        self.persistence = persistence
        self.options = options
        self.socket_path = self.data_dir / f"{name}.sock"

    @property
    def address(self) -> str:
        """``host:port`` on the loopback interface."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """How to connect over TCP."""
        return f"redis://{self.address}/0"

    def command(self) -> Command:
        """The server in the foreground, on its port and, where the path is short, its socket."""
        socket = ("--unixsocket", str(self.socket_path), "--unixsocketperm", "700")
        short = len(str(self.socket_path)) <= MAX_SOCKET_PATH_CHARS
        return Command(
            argv=(
                *(str(redis_server_binary()), "--bind", LOOPBACK, "--port", str(self.port)),
                *("--dir", str(self.data_dir), "--daemonize", "no", *self.persistence.value),
                *(socket if short else ()),
                *self.options,
            ),
            death_signal=signal.SIGTERM,
        )

    async def answers(self) -> bool:
        """Whether this very process serves, not another one on its port; refuses while loading."""
        try:
            loaded = await ask(self.port, "PING") == "PONG"
            info = await ask(self.port, "INFO", "server")
        except (OSError, TimeoutError, RedisRefused):
            return False
        return loaded and f"process_id:{self.pid}" in info.split("\r\n")


class RedisCluster:
    """Three masters that share all slots, without replicas, made anew at each start."""

    def __init__(
        self, data_dir: Path, *, start_timeout_s: float = 30.0, report: Report = silent
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.start_timeout_s = start_timeout_s
        self.nodes = [self._node(number, report) for number in range(MASTERS)]
        self._running = AsyncExitStack()

    @property
    def url(self) -> str:
        """One node, from which a client learns of the others."""
        return self.nodes[0].url

    async def start(self) -> Self:
        """Start the nodes, give each its share of the slots, and wait until all agree."""
        await asyncio.to_thread(shutil.rmtree, self.data_dir, ignore_errors=True)
        async with AsyncExitStack() as starting:
            for node in self.nodes:
                await starting.enter_async_context(node)
            await self._join()
            await self._until_all_agree()
            self._running = starting.pop_all()
        return self

    async def stop(self) -> None:
        """End every node."""
        await self._running.aclose()

    def _node(self, number: int, report: Report) -> Redis:
        return Redis(
            self.data_dir / f"node-{number}",
            name=f"redis-{number}",
            port=free_cluster_port(),
            options=("--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
            report=report,
        )

    async def _join(self) -> None:
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            slots = range(SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS)
            await ask(node.port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            await ask(node.port, "CLUSTER", "ADDSLOTS", *(str(slot) for slot in slots))
            if node is not first:
                bus = str(node.port + CLUSTER_BUS_OFFSET)
                await ask(first.port, "CLUSTER", "MEET", LOOPBACK, str(node.port), bus)

    async def _until_all_agree(self) -> None:
        try:
            async with asyncio.timeout(self.start_timeout_s):
                for node in self.nodes:
                    while not await _sees_whole_cluster(node):
                        await asyncio.sleep(POLL_S)
        except TimeoutError:
            reason = f"the nodes did not agree within {self.start_timeout_s} s"
            raise PartFailed("redis cluster", reason, ()) from None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


async def _sees_whole_cluster(node: Redis) -> bool:
    lines = (await ask(node.port, "CLUSTER", "INFO")).split("\r\n")
    return {"cluster_state:ok", f"cluster_size:{MASTERS}"}.issubset(lines)
