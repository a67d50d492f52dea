"""What the real sweep of stray holds and leases works on, in the model of money."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

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

    async def drop(self, account_ids: Sequence[str]) -> None:
        """A copy goes when one of its leases is past the life of all that was drawn from it."""
        for account in account_ids:
            leases = self._model.hot.copies[account].leases
            assert any(self._over(ident) for ident in leases), "swept within a life"
            self._model.hot.drop(account)
        await self._hot.drop(account_ids)

    def _over(self, lease_id: str) -> bool:
        """Whether nothing runs that only this lease, and a worker that died, knew of."""
        untold = set(self._model.untold.get(lease_id, ())) & self._model.lost
        drawn = [self._model.books.reservations[ident] for ident in untold]
        return all(one.known or one.expires_s <= self._model.now_s for one in drawn)

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
