"""A child process with its own group and log, that ends with its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from devstack.errors import PartFailed

LOG_ROTATE_BYTES = 16 * 1024 * 1024
"""A log longer than this is moved to ``NAME.old`` at the next start."""
LOG_TAIL_LINES = 20
POLL_S = 0.02

_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Command:
    """What to run, and how it ends.

    ``stop`` holds the signals of an orderly end, each with the seconds to wait for its effect; then
    the whole group is killed. ``death_signal`` is sent when the starting process dies. ``user`` is
    who root becomes first; ``env`` is added to the environment that the child inherits.
    """

    argv: tuple[str, ...]
    stop: tuple[tuple[Signals, float], ...] = ((signal.SIGTERM, 5.0),)
    death_signal: Signals = signal.SIGKILL
    user: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class Process:
    """One run of a command. Not bound to an event loop: it may be stopped from another one."""

    def __init__(self, name: str, command: Command, log_path: Path) -> None:
        self.name = name
        self.command = command
        self.log_path = log_path
        self._popen = _spawn(name, command, log_path)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._popen.poll()

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        while (code := self.exit_code()) is None:
            await asyncio.sleep(POLL_S)
        return code

    async def stop(self) -> int:
        """End it in order, then whatever is left of its group; harmless when it has ended."""
        for stop_signal, wait_s in self.command.stop:
            if await self._ends_after(stop_signal, wait_s):
                break
        return await self.kill()

    async def kill(self) -> int:
        """End the whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return await self.wait()

    async def _ends_after(self, stop_signal: Signals, wait_s: float) -> bool:
        if self.exit_code() is None:
            self._popen.send_signal(stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.wait()
        return self.exit_code() is not None

    def failure(self, reason: str) -> PartFailed:
        """What to raise when it does not do what it was started for."""
        return PartFailed(self.name, reason, log_tail(self.log_path))


async def run_to_end(name: str, command: Command, log_path: Path, timeout_s: float) -> None:
    """Run a command that ends by itself; raises PartFailed when it fails or takes too long."""
    process = Process(name, command, log_path)
    try:
        async with asyncio.timeout(timeout_s):
            code = await process.wait()
    except TimeoutError:
        raise process.failure(f"did not end within {timeout_s} s") from None
    finally:
        await process.kill()
    if code != 0:
        raise process.failure(f"ended with code {code}")


def log_tail(log_path: Path, lines: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log; none when there is no log."""
    if not log_path.exists():
        return ()
    with log_path.open(errors="replace") as log:
        return tuple(line.rstrip() for line in deque(log, maxlen=lines))


def _spawn(name: str, command: Command, log_path: Path) -> subprocess.Popen[bytes]:
    if threading.current_thread() is not threading.main_thread():
        # The kernel ties a child to the thread that started it, not to the process.
        raise PartFailed(name, "parts are started from the main thread", ())
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if log_path.exists() and log_path.stat().st_size > LOG_ROTATE_BYTES:
        log_path.replace(log_path.with_name(log_path.name + ".old"))
    launcher = (sys.executable, "-I", "-S", str(_LAUNCH))
    tie = (str(os.getpid()), str(int(command.death_signal)), command.user or "-")
    with log_path.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the argument vector is ours, and no shell
            [*launcher, *tie, *command.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **command.env},
            start_new_session=True,
        )
