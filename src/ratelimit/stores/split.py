"""Two stores as one: limits per second in their own, everything else in the main one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ratelimit.algorithms import Group, Outcome
from ratelimit.stores.protocol import CounterStore


class SplitStore:
    """Sends each charge to its store and puts the answers back in order.

    Groups that belong together stay whole in the main store, since only one script can see all of
    their counters. Whether a domain's do is fixed by its file, so each counter has one place.
    """

    def __init__(self, main: CounterStore, per_second: CounterStore) -> None:
        self._main = main
        self._per_second = per_second

    async def charge(self, group: Group) -> Sequence[Outcome]:
        """See the protocol."""
        apart = [charge.per_second for charge in group.charges]
        if group.together or not any(apart):
            return await self._main.charge(group)
        if all(apart):
            return await self._per_second.charge(group)
        fast = [charge for charge, is_fast in zip(group.charges, apart, strict=True) if is_fast]
        slow = [charge for charge, is_fast in zip(group.charges, apart, strict=True) if not is_fast]
        answers = await asyncio.gather(
            self._per_second.charge(Group(fast, group.mode)),
            self._main.charge(Group(slow, group.mode)),
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
