"""One deadline for many waits."""

from __future__ import annotations

import asyncio

import pytest

from extauthz.deadline import Deadline


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def test_what_is_in_time_is_returned() -> None:
    """Results pass, and exceptions as well."""
    deadline = Deadline(10)
    assert await asyncio.gather(*(deadline.keep(answer(n)) for n in range(5))) == [0, 1, 2, 3, 4]

    async def fail() -> None:
        raise KeyError("a fault")

    with pytest.raises(KeyError):
        await deadline.keep(fail())


async def test_what_is_late_is_cancelled() -> None:
    """Each wait that is over raises TimeoutError, and what it waited for hears of it."""
    deadline, cancelled = Deadline(0), []

    async def hang(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(number)

    results = await asyncio.gather(
        *(deadline.keep(hang(n)) for n in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [TimeoutError] * 3
    assert cancelled == [0, 1, 2]


async def test_a_cancellation_by_others_stays_one() -> None:
    """Who is cancelled from outside is not told that it was late."""
    deadline = Deadline(10)
    task = asyncio.create_task(deadline.keep(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_task_goes_on_after_a_late_wait() -> None:
    """The task itself is not left cancelled: the next wait works."""
    deadline = Deadline(0)

    async def work() -> int:
        with pytest.raises(TimeoutError):
            await deadline.keep(asyncio.Event().wait())
        await asyncio.sleep(0)
        current = asyncio.current_task()
        assert current is not None
        return current.cancelling()

    assert await asyncio.create_task(work()) == 0


async def test_waits_that_are_over_leave_nothing_behind() -> None:
    """A million waits in time do not make the line grow."""
    deadline = Deadline(1000)
    for number in range(1000):
        await deadline.keep(answer(number))
    assert len(deadline._line) <= 1
