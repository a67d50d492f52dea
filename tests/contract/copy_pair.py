"""An account in Postgres and its copy in Redis or in memory, for whoever compares them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from billing.accounts import Account
from billing.ledger import Settlement
from billing.reservations import Budget, Hold, Publication
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.protocol import Absent, HotStore
from tests.contract.desks import Office, open_office
from tests.contract.paid_work import PaidWork
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.ledger_report import Proof

EPOCH = 1


@dataclass(frozen=True)
class Pair:
    """A database and the hot copy of one account in it."""

    office: Office
    work: PaidWork
    copies: HotStore
    truth: PostgresTruth
    account: Account

    async def build(self) -> None:
        """Load the copy from what Postgres says."""
        asked = Hold(self.account.id, self.account.id, 0, 0)
        (absent,) = await self.copies.admit(EPOCH, [asked])
        assert isinstance(absent, Absent)
        truths = await self.truth.truth([self.account.id], self.now_s())
        assert await self.copies.load(EPOCH, [(absent.token, truths[self.account.id])]) == [True]

    async def hold(self, request: Settlement, *budgets: Budget) -> None:
        """Hold a request in the copy alone."""
        held = Hold(request.reservation_id, self.account.id, 100, request.expires_s, budgets)
        await self.copies.admit(EPOCH, [held])

    async def publish(self) -> None:
        """Tell the copy what Postgres says now."""
        found = (await self.truth.truth([self.account.id], self.now_s()))[self.account.id]
        said = Publication(
            found.account_id,
            found.posted_nanos,
            found.overdraft_nanos,
            found.version,
            tuple(found.used),
        )
        await self.copies.publish([said])

    async def prove(self, between: Callable[[], Awaitable[None]] | None = None) -> Proof:
        """The proof of invariant 7; ``between`` runs where the check waits between two looks."""

        async def pause(_seconds_s: float) -> None:
            if between is not None:
                await between()

        hot = Hot(self.copies, self.truth, self.now_s, pause)
        ask = CheckAsk(whole=True, hot=hot)
        report = await check_ledger(self.office.desk, ask, lambda *_: None)
        return report.proofs[6]

    def now_s(self) -> float:
        return self.office.clock.now.timestamp()


@asynccontextmanager
async def open_pair(dsn: str, copies: HotStore) -> AsyncIterator[Pair]:
    """An account with a subscription, a settled and a pending request, and its copy."""
    async with open_office(dsn, 6) as office:
        await office.sells("llm")
        account = await office.account(paid_nanos=1000)
        await office.subscribes(account)
        work = PaidWork(office)
        await work.settle(work.request(account, 40))
        await work.admit(work.request(account, 0))
        pair = Pair(office, work, copies, PostgresTruth(office.pool), account)
        await pair.build()
        yield pair
