"""One hosted worker as a child of its supervisor: started, drained, ended."""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping

from billing.errors import TollkeeperError
from tollkeeper.addresses import Address
from tollkeeper.hosted.bootstrap import APP, render_host
from tollkeeper.hosted.certificates import Certificates
from tollkeeper.hosted.control import DRAIN, DRAINED, READY, ControlLine
from tollkeeper.hosted.parts import HostParts
from tollkeeper.running import run_beside
from tollkeeper.settings import UnaryRole, hosting_environment
from tollkeeper.tls_files import ListenerTls
from tollkeeper.workers.lifetime import CLOSE_S, START_S, tie_to_parent

LOG_FORMAT = '{"level":"%l","logger":"envoy","event":"%j"}'


class HostedWorker:
    """A worker's Envoy. It dies with this process, however that ends."""

    def __init__(
        self,
        parts: HostParts,
        role: UnaryRole,
        worker: int,
        *,
        address: Address,
        env: Mapping[str, str],
        tls: ListenerTls | None = None,
        app: str = APP,
    ) -> None:
        self.name = f"{role} {worker}"
        self._parts = parts
        self._role: UnaryRole = role
        self._worker = worker
        self._env = env
        self._address = address
        self._app = app
        self._certificates = None if tls is None else Certificates(tls)
        self._process: Process | None = None
        self._line: ControlLine | None = None

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None, "it was started"
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it is ready; :class:`TollkeeperError` when it does not get so."""
        argv = self._argv()
        ours, theirs = socket.socketpair()
        self._line = ControlLine(ours)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=DEVNULL,
                env=self._environment(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                preexec_fn=tie_to_parent(),
            )
        try:
            async with asyncio.timeout(START_S):
                word = await self._line.hear()
        except TimeoutError:
            await self.kill()
            raise TollkeeperError(f"{self.name} was not ready within {START_S} s") from None
        if word != READY:
            await self.kill()
            raise TollkeeperError(f"{self.name} did not start; its log says why")

    async def wait(self) -> int:
        """Its exit code, once it has ended; meanwhile its certificates are followed."""
        process = self._process
        assert process is not None, "it was started"

        async def ended() -> None:
            await process.wait()

        following = () if self._certificates is None else (self._certificates.follow(),)
        await run_beside(ended(), following)
        assert process.returncode is not None, "it has ended"
        return process.returncode

    async def stop(self, drain_s: float) -> None:
        """Let it finish what it has in hand, and end it."""
        try:
            await self._end(drain_s)
        finally:
            if self._certificates is not None:
                self._certificates.close()

    async def _end(self, drain_s: float) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        assert self._line is not None, "it was started"
        await self._line.say(DRAIN)
        await self._heard(DRAINED, drain_s)
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        self._line.close()

    async def kill(self) -> None:
        """End it at once."""
        assert self._process is not None, "it was started"
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._line is not None:
            self._line.close()

    async def _heard(self, word: bytes, wait_s: float) -> bool:
        assert self._line is not None, "it was started"
        try:
            async with asyncio.timeout(wait_s):
                return await self._line.hear() == word
        except TimeoutError:
            return False

    def _argv(self) -> tuple[str, ...]:
        socket_of = None if self._certificates is None else self._certificates.transport_socket()
        module = str(self._parts.module)
        return (
            str(self._parts.envoy),
            *("--config-yaml", render_host(self._address, module, self._app, socket_of)),
            *("--concurrency", "1"),
            "--disable-hot-restart",
            *("--log-level", "warning"),
            *("--log-format", LOG_FORMAT),
        )

    def _environment(self, control_fd: int) -> dict[str, str]:
        return {
            **self._env,
            **self._parts.environment(),
            **hosting_environment(self._role, self._worker, control_fd),
        }
