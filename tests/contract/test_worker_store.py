"""One suite over both stores of workers: journal, barrier and epoch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from billing.errors import StoreUnavailable
from billing.stores.protocol import Epoch, WorkerStore
from tests.contract.ledger_bench import (
    CHARGING_ROUTE,
    NOW_US,
    A,
    MemoryLedgerBench,
    journal_row,
    posted,
    reservation_id,
    settlement,
)
from tests.contract.postgres_bench import PostgresLedgerBench
from tests.contract.seats import Heard, MemorySeats, PostgresSeats, Seats

SHORT_S, LONG_S = 0.2, 10.0
YEARS_US = 10 * 365 * 86_400 * 1_000_000
"""Letting go is by Postgres's clock, which is ahead of the bench's."""


@pytest.fixture
async def seats(ledger_place: str) -> AsyncIterator[Seats]:
    """Nobody sits there yet."""
    if not ledger_place:
        yield MemorySeats(MemoryLedgerBench())
        return
    async with asyncpg.create_pool(ledger_place, min_size=1, max_size=8) as pool:
        yield PostgresSeats(PostgresLedgerBench(pool), pool)


async def seated(seats: Seats, *numbers: int) -> list[WorkerStore]:
    """Workers that have entered the list."""
    workers = [seats.seat(number) for number in numbers]
    for worker in workers:
        await worker.register()
    return workers


def into(told: asyncio.Future[str]) -> Heard:
    """Keeps the first thing that is heard."""

    async def heard(detail: str) -> None:
        if not told.done():
            told.set_result(detail)

    return heard


async def test_who_is_alone_waits_for_nobody(seats: Seats) -> None:
    """A barrier is over at once, the first time and again after another registration."""
    (alone,) = await seated(seats, 1)
    began_s = asyncio.get_running_loop().time()
    await alone.barrier(LONG_S)
    await alone.register()
    await alone.heartbeat()
    await alone.barrier(LONG_S)
    assert asyncio.get_running_loop().time() - began_s < LONG_S / 2


async def test_a_barrier_lasts_until_the_others_have_flushed(seats: Seats) -> None:
    """Each other worker is told of it, and it is over when the last of them has answered."""
    asker, *others = await seated(seats, 1, 2, 3)
    told: list[asyncio.Future[str]] = [asyncio.get_running_loop().create_future() for _ in others]
    async with seats.listening(2, into(told[0])), seats.listening(3, into(told[1])):
        waiting = asyncio.create_task(asker.barrier(LONG_S))
        details = await asyncio.gather(*told)
        await others[0].flushed(details[0])
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await others[1].flushed(details[1])
        await waiting


async def test_a_worker_that_does_not_flush_is_told(seats: Seats) -> None:
    """Within its time the barrier fails, and no copy is built without that worker's journal."""
    asker, silent = await seated(seats, 1, 2)
    with pytest.raises(StoreUnavailable):
        await asker.barrier(SHORT_S)
    await silent.leave()
    await asker.barrier(LONG_S)


async def test_a_flush_before_the_barrier_is_not_enough(seats: Seats) -> None:
    """What was admitted between the flush and the barrier might be missing."""
    asker, other = await seated(seats, 1, 2)

    async with seats.listening(2, other.flushed):
        await asker.barrier(LONG_S)
    with pytest.raises(StoreUnavailable):
        await asker.barrier(SHORT_S)


async def test_of_several_that_see_the_same_one_raises_the_epoch(seats: Seats) -> None:
    """The others get the epoch that it raised, under its identity."""
    workers = await seated(seats, 1, 2, 3)
    seen = await workers[0].epoch()
    raised = await asyncio.gather(
        *(worker.raise_epoch(seen, f"redis {n}", "a flush") for n, worker in enumerate(workers))
    )
    assert len(set(raised)) == 1
    assert raised[0].number == seen.number + 1
    assert raised[0].identity in {"redis 0", "redis 1", "redis 2"}
    assert await workers[0].epoch() == raised[0]
    late = Epoch(seen.number, "another")
    assert await workers[1].raise_epoch(late, "redis 9", "too late") == raised[0]


async def test_the_end_of_the_chain_is_the_last_batch(seats: Seats) -> None:
    """It grows by one with every batch that is written."""
    (worker,) = await seated(seats, 1)
    await seats.ledger.open_account(A)
    before = await worker.chain_end()
    await seats.ledger.topup(A, 1_000, "first")
    assert await worker.chain_end() == before + 1
    await seats.ledger.store.settle([settlement(1, 60)], NOW_US)
    assert await worker.chain_end() == before + 2


async def test_the_journal_takes_a_reservation_once(seats: Seats) -> None:
    """Known ones, and those that have ended, stay as they are; nothing at all is no fault."""
    (worker,) = await seated(seats, 1)
    await seats.ledger.open_account(A)
    await seats.ledger.topup(A, 1_000, "first")
    rows = [journal_row(settlement(number, 60)) for number in (1, 2)]
    await worker.record([])
    await worker.record(rows[:1])
    await seats.ledger.store.settle([settlement(1, 60)], NOW_US)
    await worker.record(rows)
    await worker.record([rows[1]._replace(held_nanos=999)])
    assert await seats.ledger.states() == {
        reservation_id(1): "settled",
        reservation_id(2): "pending",
    }


async def test_what_is_let_go_ends_with_the_next_expiry(seats: Seats) -> None:
    """Without a charge, even by a route that charges on expiry; what has ended stays so."""
    (worker,) = await seated(seats, 1)
    await seats.ledger.open_account(A)
    await seats.ledger.topup(A, 1_000, "first")
    left, settled = (settlement(number, 60, route=CHARGING_ROUTE) for number in (1, 2))
    await worker.record([journal_row(left), journal_row(settled)])
    await seats.ledger.store.settle([settled], NOW_US)
    await worker.abandon([(A, reservation_id(1)), (A, reservation_id(2)), (A, reservation_id(3))])
    assert (await seats.ledger.store.expire(NOW_US + YEARS_US, 10)).charged_nanos == 0
    assert await seats.ledger.states() == {
        reservation_id(1): "expired",
        reservation_id(2): "settled",
    }
    assert await posted(seats.ledger) == 940
