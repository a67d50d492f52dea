"""Running a role: its jobs as tasks of one owner, until a signal or the death of one of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

import uvloop

from billing.errors import TollkeeperError


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a role on uvloop; what kills it rises here."""
    uvloop.run(main)


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
