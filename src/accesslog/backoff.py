"""Waiting longer and longer before the next try, with a share of chance in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Backoff:
    """Doubles from ``first_s`` to ``most_s``; each wait is between half of it and all of it.

    ``sleep`` waits so many seconds; ``chance`` gives a number from 0 to 1.
    """

    def __init__(
        self,
        first_s: float,
        most_s: float,
        sleep: Callable[[float], Awaitable[None]],
        chance: Callable[[], float],
    ) -> None:
        assert 0 < first_s <= most_s, (first_s, most_s)
        self._first_s = first_s
        self._most_s = most_s
        self._sleep = sleep
        self._chance = chance
        self._next_s = first_s

    async def wait(self) -> None:
        """Wait, and wait longer the next time."""
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, self._most_s)
        await self._sleep(wait_s * (0.5 + self._chance() / 2))

    def reset(self) -> None:
        """It worked: the next wait is a short one."""
        self._next_s = self._first_s
