"""Workers that die are replaced; a stop ends them all in order."""

from __future__ import annotations

import asyncio

import pytest

from billing.errors import TollkeeperError
from tollkeeper.workers import supervisor
from tollkeeper.workers.supervisor import supervise


class Worker:
    """A worker without a process: it lives until it is told to die."""

    def __init__(self, name: str, *, fails: int = 0) -> None:
        self.name = name
        self.starts = 0
        self.drained_s: float | None = None
        self._fails = fails
        self.dead = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        if self.starts <= self._fails:
            raise TollkeeperError(f"{self.name} did not start")
        self.dead.clear()

    async def wait(self) -> int:
        await self.dead.wait()
        return 1

    async def stop(self, drain_s: float) -> None:
        self.drained_s = drain_s


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.0)


async def until_started(worker: Worker, times: int) -> None:
    while worker.starts < times:
        await asyncio.sleep(0)


async def test_a_worker_that_dies_is_replaced_and_the_others_stay() -> None:
    """Twice, and then a stop ends both with the deadline of draining."""
    first, second, stop = Worker("a"), Worker("b"), asyncio.Event()
    running = asyncio.create_task(supervise([first, second], stop, 3.0))
    for times in (2, 3):
        await until_started(first, times - 1)
        first.dead.set()
        await until_started(first, times)
    stop.set()
    await running
    assert (first.starts, second.starts) == (3, 1)
    assert (first.drained_s, second.drained_s) == (4.0, 4.0)


async def test_a_worker_that_cannot_start_at_first_is_a_fault() -> None:
    """It rises, and what was started beside it is stopped."""
    good, bad = Worker("good"), Worker("bad", fails=1)
    with pytest.raises(TollkeeperError, match="bad did not start"):
        await supervise([good, bad], asyncio.Event(), 1.0)
    assert good.drained_s == 2.0
