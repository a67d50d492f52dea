"""An office whose workers have leases, and the clients that send requests to it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from billing.errors import StoreUnavailable
from billing.lease_calls import LeaseCall, Leased
from billing.leases import LeaseLimits
from billing.rate import Rate
from billing.reservations import (
    Admission,
    Admitted,
    Budget,
    Hold,
    JournalRow,
    Short,
)
from billing.stores.memory_hot import MemoryHotStore
from billing.stores.protocol import Absent
from tests.unit.billing.office import NOW_S, STEP_S, Office, Seat, ask

A = "00000000-0000-0000-0000-0000000000a1"
B = "00000000-0000-0000-0000-0000000000b1"
NOW_US = int(NOW_S * 1e6)
CENT = 10**7
OPEN_ASKS = LeaseLimits().open_asks


class WatchedHotStore(MemoryHotStore):
    """Counts what it is asked, and may lose its next replies about leases; ``meanwhile`` runs
    before the next of them is heard."""

    asks = 0
    tends = 0
    lost_replies = 0
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        self.asks += len(holds)
        return await super().admit(epoch, holds)

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        self.tends += 1
        answers = await super().tend(epoch, calls)
        if self.lost_replies:
            self.lost_replies -= 1
            raise StoreUnavailable("the reply was lost")
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return answers


class WatchedOffice(Office):
    """An office with such a hot copy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = itertools.count()
        self.watched = WatchedHotStore(lambda: self.clock_s, lambda: f"w{next(numbers)}")
        self.hot = self.watched

    async def pay(self, amount_nanos: int, account: str = A) -> None:
        """Open an account with a balance."""
        self.ledger.open_account(account)
        await self.ledger.topup(account, amount_nanos, "first", NOW_US)

    async def leases(self, account: str = A) -> Sequence[tuple[str, str]]:
        """Those that the hot copy has."""
        return (await self.hot.read([account]))[account].leases

    async def live_ids(self, account: str = A) -> set[str]:
        """The reservations that the hot copy has."""
        return {ident for ident, _ in (await self.hot.read([account]))[account].pending}

    async def available(self, account: str = A) -> int:
        """What the hot copy says is left."""
        (answer,) = await self.hot.admit(self.shared.epoch.number, [Hold("probe", account, 0, 0)])
        assert isinstance(answer, Admitted)
        return answer.available_nanos


@dataclass
class Client:
    """Sends requests that may come from one lease."""

    account: str = A
    amount_nanos: int = 1
    budgets: tuple[Budget, ...] = ()
    rate: Rate | None = None
    pool: str = "pool"
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    admitted: set[str] = field(default_factory=set)

    async def ask(self, seat: Seat, times: int = 1) -> list[Admission]:
        """One after the other."""
        return [await self.ask_once(seat) for _ in range(times)]

    async def ask_once(self, seat: Seat) -> Admission:
        """As the front door does."""
        hold, row = self._next()
        answer = await seat.admit(hold, row)
        if isinstance(answer, Admitted):
            self.admitted.add(hold.reservation_id)
        return answer

    def draw(self, seat: Seat) -> Admitted | None:
        """From a lease, or not at all."""
        hold, row = self._next()
        answer = seat.reserver.draw(hold, row)
        if answer is not None:
            self.admitted.add(hold.reservation_id)
        return answer

    def _next(self) -> tuple[Hold, JournalRow]:
        return ask(
            self.account,
            self.amount_nanos,
            next(self.numbers),
            budgets=self.budgets,
            rate=self.rate,
            pool=self.pool,
        )


async def leased(
    office: WatchedOffice, client: Client, name: str = "w", limits: LeaseLimits | None = None
) -> Seat:
    """A worker with a lease."""
    seat = await office.seat(name, limits)
    await client.ask(seat, OPEN_ASKS)
    await office.live(STEP_S, seat)
    assert len(await office.leases(client.account)) == 1
    return seat
