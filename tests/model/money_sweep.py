"""What the real sweep of stray holds and leases works on, in the model of money."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from billing.lease_calls import LeaseCall, Leased
from billing.reservations import Publication, Truth
from billing.sweep import Stray, Sweep, SweepLimits
from tests.model.money_values import NAMES, journal_row

if TYPE_CHECKING:
    from tests.model.money_steps import MoneySteps


class Swept:
    """Copies and strays of a model; the reference is told of everything."""

    def __init__(self, model: "MoneySteps") -> None:
        self._model = model
        self._hot = model.workers[0].line

    async def accounts(self, at_most: int) -> AsyncIterator[Sequence[str]]:
        yield NAMES[:at_most]

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        return await self._hot.read(account_ids)

    async def publish(self, publications: Sequence[Publication]) -> None:
        await self._hot.publish(publications)
        self._model.hot.publish(publications)

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        """A lease is closed after the life of all that was drawn from it and is not told of; what
        nobody journaled of that is over then."""
        for call in calls:
            for ident in self._model.untold.pop(call.lease_id, ()):
                one = self._model.books.reservations[ident]
                if one.state == "pending":
                    assert one.expires_s <= self._model.now_s, "swept within a life"
                    one.admitted = False
        return await self._hot.deliver(epoch, calls)

    async def adopt(self, strays: Sequence[Stray]) -> Sequence[Stray]:
        """Enter those that the ledger does not know; return those that it knows to have ended."""
        ended = []
        for stray in strays:
            one = self._model.books.reservations[stray.reservation_id]
            if one.state != "pending":
                ended.append(stray)
            elif not one.known:
                one.known, one.charges_on_expiry = True, False
                await self._model.real.ledger.journal.record([journal_row(one)])
        return ended

    async def truth(self, account_ids: Sequence[str], now_s: float) -> Mapping[str, Truth]:
        return await self._model.real.ledger.truth.truth(account_ids, now_s)


async def sweep(model: "MoneySteps") -> int:
    """Sweep once; returns how many stray holds and leases were found."""
    swept = Swept(model)
    return await Sweep(
        swept,
        swept,
        clock=lambda: model.now_s,
        report=print,
        registry=CollectorRegistry(),
        limits=SweepLimits(breath_s=0.0),
    ).sweep()
