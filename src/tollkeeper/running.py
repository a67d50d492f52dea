"""Running a role: its jobs as tasks of one owner, until a signal or the death of one of them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog
import uvloop

from billing.errors import TollkeeperError

log = structlog.get_logger("running")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a role on uvloop; what kills it rises here."""
    uvloop.run(main)


YOUNG_OBJECTS = 50_000
"""How many more containers than before make the collector look: about 5 MB of them."""


def spare_garbage() -> None:
    """Let the collector of cycles leave alone what stays, and look seldom at what comes.

    With Python's own thresholds it took a sixth of a check's time: hundreds of checks under way
    look like growth to it. To be called when everything is built.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 100)


def take_longer_turns() -> None:
    """Let the kernel run this process, and what it starts, for longer at a time (SCHED_BATCH, by
    sched(7)): its awakening interrupts nobody, so more calls have come when its turn comes.

    On busy cores that serves half as much again with a shorter p99; on idle ones it changes
    nothing (docs/decisions/031-scheduling.md).
    """
    if not hasattr(os, "SCHED_BATCH"):
        return  # only Linux has it
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        log.warning("not scheduled in batches", error=str(error))


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; the second signal of a kind has its usual effect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):

        def hear(number: int = number) -> None:
            stop.set()
            loop.remove_signal_handler(number)

        loop.add_signal_handler(number, hear)
    return stop


async def run_beside(
    main: Coroutine[Any, Any, None], jobs: Iterable[Coroutine[Any, Any, None]]
) -> None:
    """Run ``main`` to its end, and jobs that never end by themselves until then.

    A job that ends before is a fault: it rises here, and everything else is cancelled.
    """
    leading = asyncio.create_task(main)
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait((leading, *tasks), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
            if task is not leading:
                raise TollkeeperError(f"{task.get_coro()} ended, which it never should")
    finally:
        for task in (leading, *tasks):
            task.cancel()
        await asyncio.wait((leading, *tasks))
