"""Leases of several workers on one account: together they admit what there is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from billing.rate import Rate, RateLeft
from billing.reservations import CREDITS, Admitted, Budget, Short
from tests.unit.billing.lease_office import (
    CENT,
    NOW_US,
    OPEN_ASKS,
    A,
    B,
    Client,
    WatchedOffice,
    leased,
)
from tests.unit.billing.office import STEP_S, Seat, settle_down


@pytest.fixture
def office() -> WatchedOffice:
    return WatchedOffice()


async def _together(office: WatchedOffice, seats: Sequence[Seat], client: Client) -> int:
    """Twenty requests of all workers at once; returns how many were admitted."""
    asking = [
        asyncio.create_task(client.ask_once(seats[number % len(seats)])) for number in range(20)
    ]
    await settle_down()
    while not all(task.done() for task in asking):
        await office.live(STEP_S, *seats)
        await settle_down()
    await office.live(STEP_S, *seats)
    return sum(isinstance(task.result(), Admitted) for task in asking)


async def _race(office: WatchedOffice, seats: Sequence[Seat], client: Client, requests: int) -> int:
    """So many requests of all workers, a few at a time; returns how many were admitted."""
    return sum([await _together(office, seats, client) for _ in range(requests // 20)])


async def test_two_workers_admit_exactly_what_there_is(office: WatchedOffice) -> None:
    """Both lease, both call back when it gets scarce, and together they reach the last nano."""
    await office.pay(1300)
    client = Client(amount_nanos=3)
    seats = [await office.seat(name) for name in ("one", "two")]
    assert await _race(office, seats, client, 600) == 433
    for seat in seats:
        assert (seat.registry.get_sample_value("tollkeeper_lease_draws_total") or 0) > 20
        await seat.worker.stop()
    back = [s.registry.get_sample_value("tollkeeper_leases_called_back_total") for s in seats]
    assert any(back)
    assert await office.leases() == ()
    assert await office.live_ids() == client.admitted
    assert {ident for ident, _ in office.ledger.register.pending(A)} == client.admitted
    assert await office.available() == 1


async def test_a_counted_budget_is_reached_exactly(office: WatchedOffice) -> None:
    """Requests of two workers with leases against a quota: exactly that many."""
    await office.pay(CENT)
    client = Client(budgets=(Budget("units:llm", 0, 700, 3),))
    seats = [await office.seat(name) for name in ("one", "two")]
    assert await _race(office, seats, client, 400) == 233


async def test_who_is_short_gets_what_another_worker_leases(office: WatchedOffice) -> None:
    """It waits for as long as the other one takes to hear of it."""
    await office.pay(1000)
    client = Client()
    one = await leased(office, client, "one")
    two = await office.seat("two")
    large = Client(amount_nanos=1000 - OPEN_ASKS, pool="", numbers=client.numbers)
    assert await office.available() < large.amount_nanos
    asking = asyncio.create_task(large.ask_once(two))
    await settle_down()
    assert not asking.done()
    await office.live(2 * STEP_S, one)
    assert await asking == Admitted(0)
    assert one.registry.get_sample_value("tollkeeper_leases_called_back_total") == 1
    assert client.draw(one) is None


async def test_who_is_short_because_of_its_own_lease_waits_for_nobody(
    office: WatchedOffice,
) -> None:
    """It is given back at once, all of the account and none of another."""
    await office.pay(1000)
    await office.pay(1000, B)
    client, other = Client(), Client(account=B, pool="b")
    seat = await leased(office, client)
    await other.ask(seat, OPEN_ASKS)
    await office.live(STEP_S, seat)
    large = Client(amount_nanos=1000 - OPEN_ASKS, pool="", numbers=client.numbers)
    assert await large.ask_once(seat) == Admitted(0)
    assert (await office.leases(), len(await office.leases(B))) == ((), 1)
    assert client.draw(seat) is None
    assert isinstance(other.draw(seat), Admitted)


async def test_a_lease_that_does_not_come_back_is_waited_for_a_moment(
    office: WatchedOffice,
) -> None:
    """Its holder may be gone: then short is short."""
    await office.pay(1000)
    client = Client()
    await leased(office, client, "one")
    two = await office.seat("two")
    left = await office.available()
    large = Client(amount_nanos=left + 1, pool="", numbers=client.numbers)
    asking = asyncio.create_task(large.ask_once(two))
    await settle_down()
    office.clock_s += 0.24
    await settle_down()
    assert not asking.done()
    office.clock_s += 0.02
    assert await asking == Short(CREDITS, left, left + 1)


def _rate(clock_s: float) -> Rate:
    """A hundred a second, two hundred at once."""
    return Rate("rate:llm", 10_000, 200, NOW_US + round(clock_s * 1e6))


async def test_a_rate_admits_its_turns_and_no_more(office: WatchedOffice) -> None:
    """With leases as without: at one moment the burst, and a turn for each interval that passes."""
    await office.pay(CENT)
    client = Client(rate=_rate(0))
    seats = [await office.seat(name) for name in ("one", "two")]
    admitted, last_s = 0, 0.0
    for _ in range(40):
        last_s = office.clock_s
        client.rate = _rate(last_s)
        admitted += await _together(office, seats, client)
    drawn = [s.registry.get_sample_value("tollkeeper_lease_draws_total") or 0 for s in seats]
    assert min(drawn) > 20
    assert 200 < admitted <= 200 + 100 * last_s


async def test_unused_turns_go_back(office: WatchedOffice) -> None:
    """A lease that is given back takes no turns with it."""
    await office.pay(CENT)
    client = Client(rate=_rate(0))
    seat = await leased(office, client)
    client.rate = _rate(office.clock_s)
    first = client.draw(seat)
    assert first is not None
    assert first.rate is not None
    await seat.leases.give_back()
    office.clock_s += 0.4
    client.rate = _rate(office.clock_s)
    assert (await client.ask_once(seat)) == Admitted(
        CENT - OPEN_ASKS - 2, rate=RateLeft(200 - 2, 2 * 10_000)
    )
