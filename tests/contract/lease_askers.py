"""Who asks workers that lease, and looks at what they did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import asyncpg

from billing.lease_calls import LeaseCall, Leased
from billing.rate import US_PER_S, Rate
from billing.reservations import Admitted, Budget, Hold, Short
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.redis_hot import RedisHotStore
from tests.contract.front_workers import Front, ask

DEADLINE_S = 10.0
POLL_S = 0.002


class SlowStore(RedisHotStore):
    """Answers calls of leases only when it may, though Redis did at once."""

    slow: asyncio.Event | None = None

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        answers = await super().tend(epoch, calls)
        if self.slow is not None:
            await self.slow.wait()
        return answers


class Asker:
    """Requests of one kind; ``admitted`` by anybody, and of those ``drawn`` from leases."""

    def __init__(
        self, account: str, amount: int = 1, budgets: Sequence[Budget] = (), rate: int = 0
    ) -> None:
        self.account = account
        self.admitted: list[Hold] = []
        self.drawn: list[Hold] = []
        self._amount = amount
        self._budgets = budgets
        self._rate_burst = rate

    async def once(self, one: Front, *, lease_only: bool = False) -> bool:
        """Ask for one; returns whether it was admitted."""
        now_us = int(time.time() * US_PER_S)
        rate = Rate("rate:llm", 60 * US_PER_S, self._rate_burst, now_us)
        hold, row = ask(
            self.account,
            self._amount,
            self._budgets,
            pool="pool",
            rate=rate if self._rate_burst else None,
        )
        if one.reserver.draw(hold, row) is not None:
            self.drawn.append(hold)
        elif lease_only:
            return False
        else:
            answer = await one.reserver.reserve(hold, row, "closed")
            assert isinstance(answer, Admitted | Short), answer
            if isinstance(answer, Short):
                return False
        self.admitted.append(hold)
        return True

    async def until_drawn(self, one: Front, draws: int = 5) -> None:
        """Ask until so many more came from a lease."""
        enough = len(self.drawn) + draws

        async def step() -> bool:
            await self.once(one)
            return len(self.drawn) >= enough

        await until(step)

    async def race(self, fronts: Sequence[Front], requests: int) -> None:
        """So many at once, through all workers in turn."""
        await asyncio.gather(*(self.once(fronts[i % len(fronts)]) for i in range(requests)))

    async def empty(self, one: Front) -> None:
        """Ask until there is nothing left."""
        while await self.once(one):
            pass


async def until(reached: Callable[[], object]) -> None:
    """Poll until it is so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = reached()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(POLL_S)


async def leases_of(one: Front, account: str) -> int:
    """How many leases the hot copy of an account holds."""
    copies = await one.hot.read([account])
    return len(copies[account].leases) if account in copies else 0


async def nothing_leased(one: Front, account: str) -> bool:
    """Whether the hot copy of an account holds no lease."""
    return await leases_of(one, account) == 0


async def check_copy(one: Front, pool: asyncpg.Pool, account: str) -> None:
    """Wait until the copy is what Postgres says, and nothing is leased."""

    async def same() -> bool:
        copy = (await one.hot.read([account]))[account]
        truth = (await PostgresTruth(pool).truth([account], time.time()))[account]
        said = (copy.posted_nanos, copy.version, sorted(copy.pending), list(copy.leases))
        return said == (truth.posted_nanos, truth.version, sorted(truth.pending), [])

    await until(same)
