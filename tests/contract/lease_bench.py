"""Leases on a bench: how tests call the hot copy about them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from billing.lease_calls import LeaseCall, Leased, Step
from billing.rate import Rate
from billing.reservations import CREDITS, Admitted, Budget, Hold, Short
from billing.stores.protocol import HotStore
from tests.contract.hot_bench import EPOCH, EXPIRES_S, A, Answer, ask, copy_of, hold

NOW_US = 1_760_000_000_000_000
TEN_MS_US = 10_000
_probes = itertools.count()


def like(amount: int = 0, *budgets: Budget, rate: Rate | None = None, account: str = A) -> Hold:
    """One request of those that a lease is for."""
    return Hold("like", account, amount, EXPIRES_S, budgets, rate)


def rate(burst: int, after_us: int = 0) -> Rate:
    """A hundred a second."""
    return Rate("rate:llm", TEN_MS_US, burst, NOW_US + after_us)


class Holder(NamedTuple):
    """Who has a lease, or wants it."""

    store: HotStore
    hold: Hold
    lease_id: str = "l"
    epoch: int = EPOCH

    async def call(
        self,
        number: int,
        step: Step = Step.KEEP,
        *draws: Hold,
        wanted: int = 0,
        turns: int = 0,
        until_us: int = NOW_US,
        expires_s: int = EXPIRES_S,
    ) -> Leased | None:
        """Make one call."""
        one = LeaseCall(
            self.lease_id,
            number,
            step,
            wanted,
            self.hold,
            expires_s,
            draws,
            turns,
            until_us,
        )
        (answer,) = await self.store.tend(self.epoch, [one])
        return answer

    async def open(self, wanted: int, *, until_us: int = NOW_US) -> Leased | None:
        """The first call."""
        return await self.call(1, Step.OPEN, wanted=wanted, until_us=until_us)

    async def top_up(self, number: int, wanted: int, turns: int = 0) -> Leased | None:
        """Ask for more, and tell nothing."""
        return await self.call(number, wanted=wanted, turns=turns)

    async def tell(self, number: int, *draws: Hold) -> Leased | None:
        """Tell what was admitted, and want nothing."""
        return await self.call(number, Step.KEEP, *draws)

    async def close(self, number: int, *draws: Hold, turns: int = 0) -> Leased | None:
        """The last call."""
        return await self.call(number, Step.CLOSE, *draws, turns=turns)


async def leases(store: HotStore, account: str = A) -> Sequence[tuple[str, str]]:
    """What is left of each lease."""
    return list((await copy_of(store, account)).leases)


async def pending(store: HotStore, account: str = A) -> list[str]:
    """The live reservations."""
    return [ident for ident, _ in (await copy_of(store, account)).pending]


async def left(store: HotStore, *budgets: Budget) -> Answer:
    """What a request of nothing is told: what the account has left, or which budget is over."""
    return await ask(store, hold(f"probe-{next(_probes)}", 0, *budgets))


def short(left_nanos: int, needed_nanos: int) -> Short:
    """Short of credits while others hold leases."""
    return Short(CREDITS, left_nanos, needed_nanos, leased=True)


async def assert_left(store: HotStore, budget: Budget, units: int) -> None:
    """Exactly so much is left of a counted budget; that it asks for more calls leases back."""
    fits = budget._replace(amount=units)
    over = await ask(store, hold("over", 0, budget._replace(amount=units + 1)))
    assert isinstance(over, Short)
    assert (over.budget, over.left) == (budget.name, units)
    assert isinstance(await ask(store, hold("fits", 0, fits)), Admitted)
