"""Reserving, over memory stores: copies, rounds, outages, callers that leave."""

from __future__ import annotations

import asyncio

import pytest

from billing.reservations import CREDITS, Admitted, Short, Undecided
from tests.unit.billing.office import NOW_S, Office, Seat, ask, settle_down

A = "00000000-0000-0000-0000-0000000000a1"
B = "00000000-0000-0000-0000-0000000000b1"
CENT = 10**7


@pytest.fixture
def office() -> Office:
    """One account with a cent in it."""
    office = Office()
    office.ledger.open_account(A)
    return office


async def _pay(office: Office, amount_nanos: int = CENT) -> None:
    await office.ledger.topup(A, amount_nanos, "first", int(NOW_S * 1e6))


async def test_an_absent_copy_is_built_and_the_request_goes_on(office: Office) -> None:
    """The first request of an account waits for its copy and is then decided by it."""
    await _pay(office)
    seat = await office.seat("w")
    assert await seat.reserver.reserve(*ask(A, 7, 1), "closed") == Admitted(CENT - 7)
    assert seat.journal.depth == 1


async def test_requests_that_wait_together_share_calls(office: Office) -> None:
    """Fifty requests at once are decided exactly, and every one of them is answered."""
    await _pay(office, 30)
    seat = await office.seat("w")
    answers = await asyncio.gather(
        *(seat.reserver.reserve(*ask(A, 1, number), "closed") for number in range(50))
    )
    assert sum(isinstance(answer, Admitted) for answer in answers) == 30
    assert answers.count(Short(CREDITS, 0, 1)) == 20


async def test_another_worker_flushes_before_a_copy_is_built(office: Office) -> None:
    """What a worker holds only in its journal's buffer counts when another one builds the copy."""
    await _pay(office, 10)
    one, two = await office.seat("one"), await office.seat("two")
    for number in range(10):
        assert isinstance(await one.reserver.reserve(*ask(A, 1, number), "closed"), Admitted)
    assert one.journal.depth == 10
    office.hot.flush()
    assert await two.reserver.reserve(*ask(A, 1, 99), "closed") == Short(CREDITS, 0, 1)
    assert one.journal.depth == 0


async def test_an_account_that_the_ledger_does_not_have_is_undecided(office: Office) -> None:
    """An unknown account is no fault and no admission."""
    seat = await office.seat("w")
    answer = await seat.reserver.reserve(*ask(B, 1, 1), "closed")
    assert isinstance(answer, Undecided)
    assert "no such account" in answer.reason


async def _outage(office: Office, seat: Seat) -> None:
    """The hot copy knew the account, and then went away."""
    await _pay(office, 100)
    await seat.reserver.reserve(*ask(A, 0, 1), "closed")
    office.hot.away = True


async def test_postures_while_the_hot_copy_is_away(office: Office) -> None:
    """`closed` decides nothing, `allowance` admits a share of the last balance, `open` all."""
    seat = await office.seat("w")
    await _outage(office, seat)
    assert isinstance(await seat.reserver.reserve(*ask(A, 1, 2), "closed"), Undecided)
    assert await seat.reserver.reserve(*ask(A, 50, 3), "allowance") == Admitted(0, local=True)
    assert await seat.reserver.reserve(*ask(A, 1, 4), "allowance") == Short(CREDITS, 0, 1)
    assert await seat.reserver.reserve(*ask(A, 500, 5), "open") == Admitted(0, local=True)


async def test_what_was_admitted_meanwhile_counts_when_the_hot_copy_is_back(
    office: Office,
) -> None:
    """After an outage the copy is built anew, with the reservations that it never saw."""
    seat = await office.seat("w")
    await _outage(office, seat)
    assert isinstance(await seat.reserver.reserve(*ask(A, 40, 2), "allowance"), Admitted)
    office.hot.away = False
    office.clock_s += 10
    assert await seat.reserver.reserve(*ask(A, 60, 3), "closed") == Admitted(0)
    assert await seat.reserver.reserve(*ask(A, 1, 4), "closed") == Short(CREDITS, 0, 1)


async def test_a_refused_request_of_which_nobody_knows_ends_soon(office: Office) -> None:
    """A call that was not answered may have held: it is journaled with a short life."""
    seat = await office.seat("w")
    await _outage(office, seat)
    await seat.journal.flush()
    await seat.reserver.reserve(*ask(A, 1, 2), "closed")
    await seat.journal.flush()
    batch = await office.ledger.expire(int((NOW_S + 6) * 1e6), 10)
    assert batch.released == 1


async def test_a_caller_that_left_holds_nothing_for_long(office: Office) -> None:
    """When the client is gone before its hold is known, the hold ends with the next expiry."""
    await _pay(office)
    seat = await office.seat("w")
    await seat.reserver.reserve(*ask(A, 0, 1), "closed")
    await seat.journal.flush()
    asking = asyncio.create_task(seat.reserver.reserve(*ask(A, 5, 2), "closed"))
    await asyncio.sleep(0)
    asking.cancel()
    await settle_down()
    await seat.journal.flush()
    batch = await office.ledger.expire(int((NOW_S + 1) * 1e6), 10)
    assert batch.released == 1


async def test_a_full_journal_admits_nothing(office: Office) -> None:
    """What could not be accounted for is not admitted."""
    await _pay(office)
    seat = await office.seat("w")
    await seat.reserver.reserve(*ask(A, 0, 0), "closed")
    office.shared.away = True
    answers = [await seat.reserver.reserve(*ask(A, 1, n), "open") for n in range(1, 60)]
    assert sum(isinstance(answer, Admitted) for answer in answers) == 49
    assert answers[-1] == Undecided("journal_full")


async def test_a_caller_that_leaves_as_its_answer_comes_holds_nothing_for_long(
    office: Office,
) -> None:
    """Between the answer and the caller's turn the caller may be cancelled: then too, the hold
    ends with the next expiry, whether its row was journaled by then or not."""
    await _pay(office)
    seat = await office.seat("w")
    await seat.reserver.reserve(*ask(A, 0, 1), "closed")
    await seat.journal.flush()
    for number, flush_first in ((2, False), (3, True)):
        asking = asyncio.create_task(seat.reserver.reserve(*ask(A, 5, number), "closed"))
        while not seat.journal.depth:
            await asyncio.sleep(0)
        if flush_first:
            await seat.journal.flush()
        assert not asking.done()
        asking.cancel()
        await settle_down()
        await seat.journal.flush()
    batch = await office.ledger.expire(int((NOW_S + 1) * 1e6), 10)
    assert batch.released == 2
