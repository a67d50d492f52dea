"""Leases of a worker, over memory stores, with a clock that the tests move."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from billing.lease_calls import CALL_BACK_MS
from billing.leases import LeaseLimits
from billing.reservations import (
    CREDITS,
    Admitted,
    Short,
    Undecided,
)
from tests.unit.billing.lease_office import (
    CENT,
    OPEN_ASKS,
    Client,
    WatchedOffice,
    leased,
)
from tests.unit.billing.office import STEP_S, settle_down


@pytest.fixture
def office() -> WatchedOffice:
    return WatchedOffice()


def test_a_call_back_is_heard_of_while_others_wait_for_it() -> None:
    """Between two calls of a lease less time passes than who is short waits, and than the lease
    surely stands."""
    limits = LeaseLimits()
    assert limits.tell_s + limits.tick_s < CALL_BACK_MS / 1000
    assert limits.tell_s + limits.tick_s < limits.sure_s


async def test_an_account_that_asks_often_gets_a_lease(office: WatchedOffice) -> None:
    """Not with one ask less."""
    await office.pay(CENT)
    seat, client = await office.seat("w"), Client()
    await client.ask(seat, OPEN_ASKS - 1)
    await office.live(STEP_S, seat)
    assert (client.draw(seat), await office.leases()) == (None, ())
    await client.ask(seat)
    await office.live(STEP_S, seat)
    assert len(await office.leases()) == 1
    assert seat.registry.get_sample_value("tollkeeper_leases") == 1
    assert isinstance(client.draw(seat), Admitted)


async def test_asks_of_long_ago_do_not_count(office: WatchedOffice) -> None:
    """They are counted anew each half second."""
    await office.pay(CENT)
    seat, client = await office.seat("w"), Client()
    await client.ask(seat, OPEN_ASKS - 1)
    await office.live(0.55, seat)
    await client.ask(seat, OPEN_ASKS - 1)
    await office.live(STEP_S, seat)
    assert await office.leases() == ()
    await client.ask(seat)
    await office.live(STEP_S, seat)
    assert len(await office.leases()) == 1


async def test_a_lease_is_drawn_from_without_asking(office: WatchedOffice) -> None:
    """Every draw is journaled, and says what is left, as if the hot copy had been asked."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    asked, depth = office.watched.asks, seat.journal.depth
    answers = await client.ask(seat, 10)
    assert answers == [Admitted(CENT - OPEN_ASKS - 1 - number) for number in range(10)]
    assert office.watched.asks == asked
    assert seat.journal.depth == depth + 10
    assert len(await office.live_ids()) == OPEN_ASKS


@pytest.mark.parametrize(("draws", "after_s"), [(8, 0.05), (1, 0.1), (7, 0.1)])
async def test_the_hot_copy_is_told_of_draws(
    office: WatchedOffice, draws: int, after_s: float
) -> None:
    """Of many at the next look, of few a little later: they live there then as any other."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, draws)
    before = await office.available()
    if after_s > STEP_S:
        await office.live(after_s - STEP_S, seat)
        assert len(await office.live_ids() - {"probe"}) == OPEN_ASKS
    await office.live(STEP_S, seat)
    assert await office.live_ids() - {"probe"} == client.admitted
    assert await office.available() <= before
    drawn = seat.registry.get_sample_value("tollkeeper_lease_draws_total")
    assert drawn == draws


async def test_leases_are_topped_up(office: WatchedOffice) -> None:
    """Traffic that goes on, and that grows, never has to ask again."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    asked = office.watched.asks
    for many in (3, 5, 8, 8, 12, 12, 18, 18, 27, 27, 40, 40):
        answers = await client.ask(seat, many)
        assert all(isinstance(answer, Admitted) for answer in answers)
        await office.live(STEP_S, seat)
    assert office.watched.asks == asked


async def test_a_lease_that_is_not_used_is_closed(office: WatchedOffice) -> None:
    """What it held is available again; and it takes asks of another half second to get one."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    assert await office.available() < CENT - OPEN_ASKS
    await client.ask(seat, 1)
    await office.live(0.3, seat)
    assert await office.leases() == ()
    assert await office.available() == CENT - OPEN_ASKS - 1
    assert client.draw(seat) is None
    await client.ask(seat, 20)
    await office.live(STEP_S, seat)
    assert await office.leases() == ()
    await office.live(0.5, seat)
    await client.ask(seat, OPEN_ASKS)
    await office.live(STEP_S, seat)
    assert len(await office.leases()) == 1


async def test_what_a_lease_does_not_cover_is_asked_for(office: WatchedOffice) -> None:
    """A large request goes to the hot copy; the lease stays as it is."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    large = Client(amount_nanos=1000, numbers=client.numbers)
    assert large.draw(seat) is None
    assert isinstance(await large.ask_once(seat), Admitted)
    assert isinstance(client.draw(seat), Admitted)


async def test_who_is_short_gets_what_another_worker_hasleased(office: WatchedOffice) -> None:
    """It waits for as long as the other one takes to hear of it."""
    await office.pay(1000)
    client = Client()
    one = await leased(office, client, "one")
    two = await office.seat("two")
    left = await office.available()
    large = Client(amount_nanos=1000 - OPEN_ASKS, pool="", numbers=client.numbers)
    assert left < large.amount_nanos
    asking = asyncio.create_task(large.ask_once(two))
    await settle_down()
    assert not asking.done()
    await office.live(2 * STEP_S, one)
    assert await asking == Admitted(0)
    assert one.registry.get_sample_value("tollkeeper_leases_called_back_total") == 1
    assert client.draw(one) is None


async def test_nothing_is_drawn_while_the_journal_is_full(office: WatchedOffice) -> None:
    """What could not be accounted for is not admitted, from a lease either."""
    await office.pay(CENT)
    client = Client(amount_nanos=0)
    seat = await leased(office, client)
    office.shared.away = True
    while seat.journal.has_room:
        assert isinstance(client.draw(seat), Admitted)
    assert client.draw(seat) is None
    assert await client.ask_once(seat) == Undecided("journal_full")
    office.shared.away = False
    await seat.journal.flush()
    assert isinstance(client.draw(seat), Admitted)


@pytest.mark.parametrize(
    ("pool", "limits"), [("", LeaseLimits()), ("pool", LeaseLimits(most_requests=0))]
)
async def test_some_are_never_leased(office: WatchedOffice, pool: str, limits: LeaseLimits) -> None:
    """Requests of no pool, and any where leases are switched off."""
    await office.pay(CENT)
    seat, client = await office.seat("w", limits), Client(pool=pool)
    await client.ask(seat, 5 * OPEN_ASKS)
    await office.live(STEP_S, seat)
    assert await office.leases() == ()
    assert office.watched.tends == 0
    assert client.draw(seat) is None


async def test_there_are_so_many_leases_and_no_more(office: WatchedOffice) -> None:
    """The others go on asking, until one is closed."""
    await office.pay(CENT)
    seat = await office.seat("w", LeaseLimits(max_leases=2))
    clients = [Client(pool=f"pool {n}", numbers=itertools.count(1000 * n)) for n in range(3)]
    for client in clients:
        await client.ask(seat, OPEN_ASKS)
    await office.live(STEP_S, seat)
    assert len(await office.leases()) == 2
    assert [client.draw(seat) is not None for client in clients] == [True, True, False]


async def test_a_poor_account_gets_no_lease(office: WatchedOffice) -> None:
    """It goes on asking, and does not ask for a lease at every turn."""
    await office.pay(OPEN_ASKS + 7)
    seat, client = await office.seat("w"), Client()
    await client.ask(seat, OPEN_ASKS)
    await office.live(STEP_S, seat)
    await client.ask(seat, 3)
    await office.live(3 * STEP_S, seat)
    assert office.watched.tends == 1
    assert await office.leases() == ()
    assert len(await client.ask(seat, 4)) == 4
    assert await client.ask_once(seat) == Short(CREDITS, 0, 1)


async def test_a_lease_holds_at_most_so_many_requests(office: WatchedOffice) -> None:
    """However fast they come."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client, limits=LeaseLimits(most_requests=30))
    for _ in range(4):
        await client.ask(seat, 30)
        await office.live(STEP_S, seat)
        ((_, record),) = await office.leases()
        assert int(record.split("|")[0]) <= 30


async def test_leases_are_looked_after_for_ever(office: WatchedOffice) -> None:
    """As long as the worker runs."""
    await office.pay(CENT)
    seat = await office.seat("w", LeaseLimits(tick_s=0.0))
    running = asyncio.create_task(seat.leases.run())
    await Client().ask(seat, OPEN_ASKS)
    await settle_down()
    assert len(await office.leases()) == 1
    await seat.leases.give_back()
    assert not running.done()
    running.cancel()
