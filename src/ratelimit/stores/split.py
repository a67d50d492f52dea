"""Two stores as one: limits per second in their own, everything else in the main one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ratelimit.algorithms import Group, Reading
from ratelimit.stores.protocol import CounterStore


class SplitStore:
    """Sends each draw to its store and puts the answers back in order.

    Groups that belong together stay whole in the main store, since only one script can see all of
    their counters. Whether a domain's do is fixed by its file, so each counter has one place.
    """

    def __init__(self, main: CounterStore, per_second: CounterStore) -> None:
        self._main = main
        self._per_second = per_second

    async def draw(self, group: Group) -> Sequence[Reading]:
        """See the protocol."""
        apart = [draw.per_second for draw in group.draws]
        if group.together or not any(apart):
            return await self._main.draw(group)
        if all(apart):
            return await self._per_second.draw(group)
        fast = [draw for draw, is_fast in zip(group.draws, apart, strict=True) if is_fast]
        slow = [draw for draw, is_fast in zip(group.draws, apart, strict=True) if not is_fast]
        answers = await asyncio.gather(
            self._per_second.draw(Group(fast, group.mode)),
            self._main.draw(Group(slow, group.mode)),
        )
        fast_answers, slow_answers = iter(answers[0]), iter(answers[1])
        return [next(fast_answers if is_fast else slow_answers) for is_fast in apart]

    def state(self) -> str:
        """The first of the two that is not ``ok``."""
        states = (self._main.state(), self._per_second.state())
        return next((state for state in states if state != "ok"), "ok")

    async def close(self) -> None:
        """See the protocol."""
        await self._main.close()
        await self._per_second.close()
