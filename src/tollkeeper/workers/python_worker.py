"""One role in Python alone, as a child of its supervisor."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping

from billing.errors import TollkeeperError
from tollkeeper.addresses import Address
from tollkeeper.workers.lifetime import CLOSE_S, START_S, tie_to_parent

POLL_S = 0.05


class PythonWorker:
    """``python -m tollkeeper.serve ROLE WORKER``; it drains by itself on SIGTERM."""

    def __init__(self, role: str, worker: int, address: Address, env: Mapping[str, str]) -> None:
        self.name = f"{role} {worker}"
        self._argv = (sys.executable, "-m", "tollkeeper.serve", role, str(worker))
        self._address = address
        self._env = env
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=DEVNULL, env=self._env, preexec_fn=tie_to_parent()
        )
        try:
            async with asyncio.timeout(START_S):
                while not await self._listens():
                    if self._process.returncode is not None:
                        raise TollkeeperError(f"{self.name} did not start; its log says why")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            self._process.kill()
            raise TollkeeperError(f"{self.name} was not ready within {START_S} s") from None

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None, "it was started"
        return await self._process.wait()

    async def stop(self, drain_s: float) -> None:
        """Let it finish what it has in hand, and end it."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(drain_s + CLOSE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _listens(self) -> bool:
        where = self._address
        try:
            if where.path:
                _, writer = await asyncio.open_unix_connection(where.path)
            else:
                _, writer = await asyncio.open_connection(where.host, where.port)
        except OSError:
            return False
        writer.close()
        return True
