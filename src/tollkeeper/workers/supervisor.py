"""``tollkeeper serve authz``: the workers of a role, each a process, each replaced when it dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from billing.errors import TollkeeperError

log = structlog.get_logger("supervisor")

FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 5.0
STEADY_S = 10.0
"""A worker that lived for so long begins again with the first pause."""


class WorkerProcess(Protocol):
    """A worker that can be started, and started again after its end."""

    name: str

    async def start(self) -> None:
        """Start it and wait until it is ready; :class:`TollkeeperError` when it does not get so."""

    async def wait(self) -> int:
        """Its exit code, once it has ended."""

    async def stop(self, drain_s: float) -> None:
        """Let it finish what it has in hand, and end it."""


async def supervise(
    workers: Sequence[WorkerProcess], stop: asyncio.Event, drain_deadline_s: float
) -> None:
    """Keep all workers running until ``stop``, then end them in order.

    A worker that cannot be started at first is a fault and rises here; one that dies later is
    started again and again, with growing pauses.
    """
    try:
        async with asyncio.TaskGroup() as starting:
            for worker in workers:
                starting.create_task(worker.start())
        log.info("serving", workers=len(workers))
        await _keep(workers, stop)
    except* TollkeeperError as errors:
        raise errors.exceptions[0] from None
    finally:
        # One second more than a worker gives itself, so that its own word comes first.
        await asyncio.gather(*(worker.stop(drain_deadline_s + 1.0) for worker in workers))
    log.info("stopped")


async def _keep(workers: Sequence[WorkerProcess], stop: asyncio.Event) -> None:
    keeping = [asyncio.create_task(_replace(worker)) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait((stopping, *keeping), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (stopping, *keeping):
            task.cancel()
        await asyncio.wait((stopping, *keeping))


async def _replace(worker: WorkerProcess) -> None:
    """Start a worker anew whenever it ends."""
    pause_s = FIRST_PAUSE_S
    began_s = time.monotonic()
    while True:
        code = await worker.wait()
        log.error("a worker ended", worker=worker.name, code=code)
        if time.monotonic() - began_s > STEADY_S:
            pause_s = FIRST_PAUSE_S
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, MAX_PAUSE_S)
        began_s = time.monotonic()
        try:
            await worker.start()
        except TollkeeperError as error:
            log.warning("a worker did not start", worker=worker.name, error=str(error))
        else:
            log.info("a worker was replaced", worker=worker.name)
