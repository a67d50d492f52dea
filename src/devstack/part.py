"""What every part has in common: it starts until it answers, and stops without a trace."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.errors import PartFailed
from devstack.process import POLL_S, Command, Process

Report = Callable[[str], None]
"""Is told each step in one short line."""


def silent(line: str) -> None:
    """Report to nobody."""
    del line


class Part(ABC):
    """A real server of ours: ``async with Part(...)``, or ``start`` and ``stop``.

    ``start`` returns when the part answers, and raises PartFailed with the end of its log when it
    dies first or does not answer within ``start_timeout_s``. After ``stop`` or ``kill`` it can be
    started again, at the same address.
    """

    def __init__(
        self, name: str, data_dir: Path, *, start_timeout_s: float, report: Report
    ) -> None:
        self.name = name
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / f"{name}.log"
        self.start_timeout_s = start_timeout_s
        self.report = report
        self._process: Process | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it answers, as ``host:port``."""

    @property
    def pid(self) -> int:
        """The process id of the running part."""
        if self._process is None:
            raise PartFailed(self.name, "is not running", ())
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.exit_code() is None

    @abstractmethod
    def command(self) -> Command:
        """What to run."""

    @abstractmethod
    async def answers(self) -> bool:
        """Whether it serves; asked again and again until it does."""

    async def prepare(self) -> None:
        """Make what the command needs."""
        await asyncio.to_thread(self.data_dir.mkdir, parents=True, exist_ok=True)

    async def start(self) -> Self:
        """Start it and wait until it answers."""
        assert not self.running, f"{self.name} is running"
        self.report(f"{self.name}: starting")
        await self.prepare()
        self._process = Process(self.name, self.command(), self.log_path)
        try:
            await self._until_it_answers(self._process)
        except BaseException:
            await self.stop()
            raise
        self.report(f"{self.name}: answers at {self.address}")
        return self

    async def stop(self) -> None:
        """End it in order; harmless when it does not run."""
        if self._process is not None:
            self.report(f"{self.name}: stopping")
            await self._process.stop()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            await self._process.kill()

    async def wait(self) -> PartFailed:
        """Wait for its end, and tell it as a failure: for whoever watches a running stack."""
        assert self._process is not None, f"{self.name} was never started"
        code = await self._process.wait()
        return self._process.failure(f"ended with code {code}")

    async def _until_it_answers(self, process: Process) -> None:
        try:
            async with asyncio.timeout(self.start_timeout_s):
                while not await self.answers():
                    if (code := process.exit_code()) is not None:
                        raise process.failure(f"ended with code {code} before it answered")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise process.failure(f"did not answer within {self.start_timeout_s} s") from None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
