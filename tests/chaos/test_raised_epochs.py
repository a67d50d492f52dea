"""The epoch rises while a call to the hot copy is under way: what an old copy granted is void.

So it is with a Redis that comes back from an old dump: a call that was begun in the old epoch can
reach it as soon as another worker has raised the epoch for it, and finds the copy of the old one,
in which credits that were spent long ago are there again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import msgspec
import pytest_asyncio

from billing.reservations import Admitted, Hold, JournalRow, Short
from billing.stores.hot_layout import account_key
from billing.stores.protocol import Change
from devstack import Redis
from devstack.resp import ask as ask_redis
from tests.contract.front_workers import Front, ask, front, open_account

SPENT = 700
OPEN_ASKS = 8
PAUSE_MS = 160
"""Less than the time after which a lease that nobody drew from is closed."""


@dataclass(frozen=True)
class Bench:
    """An account whose last credits are held, and one worker."""

    account: str
    front: Front
    dsn: str
    redis_port: int

    def request(self, amount: int) -> tuple[Hold, JournalRow]:
        """One whose account may have leases."""
        hold, row = ask(self.account, amount)
        return msgspec.structs.replace(hold, pool=self.account), row

    async def admit(self, amount: int) -> Admitted | Short:
        hold, row = self.request(amount)
        answer = await self.front.reserver.reserve(hold, row, "closed")
        assert isinstance(answer, Admitted | Short), answer
        return answer

    async def return_spent(self) -> None:
        """As in an old dump: what was spent is available."""
        key = account_key(self.account)
        await ask_redis(self.redis_port, "HINCRBY", key, "a", f"{SPENT}")

    async def raised_during(self, call: Callable[[], Awaitable[object]]) -> object:
        """What a call says that Redis answers after the epoch was raised."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await ask_redis(self.redis_port, "CLIENT", "PAUSE", f"{PAUSE_MS}", "ALL")
            calling = asyncio.ensure_future(call())
            await asyncio.sleep(PAUSE_MS / 4_000)
            await connection.execute("UPDATE hot_epoch SET epoch = epoch + 1")
        finally:
            await connection.close()
        await self.front.worker.answer(Change("epoch"))
        assert not calling.done(), "Redis answered before the epoch was raised"
        return await calling


@pytest_asyncio.fixture
async def bench(database: str, redis_url: str, redis_server: Redis) -> AsyncIterator[Bench]:
    account = await open_account(database, SPENT)
    async with front(database, redis_url) as one:
        yield Bench(account, one, database, redis_server.port)


async def test_nothing_is_admitted_from_the_old_copy(bench: Bench) -> None:
    """The answer that an old copy gave is thrown away; the copy is built anew and refuses."""
    assert isinstance(await bench.admit(SPENT), Admitted)
    await bench.return_spent()
    assert isinstance(await bench.raised_during(lambda: bench.admit(1)), Short)


async def test_nothing_is_drawn_from_a_lease_that_the_old_copy_granted(bench: Bench) -> None:
    """A lease that was opened across the end of its epoch is closed before anything is drawn."""
    assert isinstance(await bench.admit(SPENT), Admitted)
    await bench.return_spent()
    leases = bench.front.leases
    hold, row = bench.request(1)

    async def open_lease() -> None:
        for _ in range(OPEN_ASKS):
            leases.note(hold)
        await leases.tend()

    await bench.raised_during(open_lease)
    assert leases.draw(hold, row) is None
    assert isinstance(await bench.admit(1), Short)
