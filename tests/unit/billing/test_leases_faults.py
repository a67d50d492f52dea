"""Leases of a worker when replies, heartbeats or copies are lost."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import pytest

from billing.leases import LeaseLimits
from billing.reservations import (
    CREDITS,
    Admitted,
    Short,
)
from billing.stores.protocol import Epoch
from tests.unit.billing.lease_office import (
    CENT,
    OPEN_ASKS,
    A,
    B,
    Client,
    WatchedOffice,
    leased,
)
from tests.unit.billing.office import STEP_S, settle_down


@pytest.fixture
def office() -> WatchedOffice:
    return WatchedOffice()


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_lost_reply_is_asked_for_again_and_then_the_lease_is_closed(
    office: WatchedOffice, lost: int
) -> None:
    """The draws that were told are told once; nothing is drawn meanwhile, and nothing is lost."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 8)
    office.watched.lost_replies = lost
    await office.live(STEP_S, seat)
    assert client.draw(seat) is None
    assert seat.registry.get_sample_value("tollkeeper_lease_faults_total") == 1
    assert len(await office.leases()) == 1
    await office.live(lost * STEP_S, seat)
    assert await office.leases() == ()
    assert await office.live_ids() == client.admitted
    assert await office.available() == CENT - OPEN_ASKS - 8
    assert seat.registry.get_sample_value("tollkeeper_lease_faults_total") == lost
    assert seat.registry.get_sample_value("tollkeeper_lease_draws_total") == 8


async def test_a_lost_opening_is_taken_back(office: WatchedOffice) -> None:
    """Nobody knows how much was granted, so nothing is drawn of it."""
    await office.pay(CENT)
    seat, client = await office.seat("w"), Client()
    await client.ask(seat, OPEN_ASKS)
    office.watched.lost_replies = 1
    await office.live(STEP_S, seat)
    assert client.draw(seat) is None
    assert len(await office.leases()) == 1
    await office.live(STEP_S, seat)
    assert await office.leases() == ()
    assert await office.available() == CENT - OPEN_ASKS


async def test_a_lost_closing_is_repeated(office: WatchedOffice) -> None:
    """It was made already, so the lease is not there any more."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    office.watched.lost_replies = 1
    await seat.leases.give_back()
    assert await office.leases() == ()
    assert seat.registry.get_sample_value("tollkeeper_leases") == 1
    await office.live(STEP_S, seat)
    assert seat.registry.get_sample_value("tollkeeper_leases") == 0


async def test_draws_wait_while_the_hot_copy_is_away(office: WatchedOffice) -> None:
    """They are in the journal; the hot copy hears of them when it is back, or is built anew."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 8)
    office.hot.away = True
    await office.live(STEP_S, seat)
    assert client.draw(seat) is None
    office.hot.away = False
    await office.live(STEP_S, seat)
    assert (await office.live_ids(), await office.leases()) == (client.admitted, ())


async def test_a_fault_closes_what_was_not_called_either(office: WatchedOffice) -> None:
    """Calls of several leases go in parts: the first that fails ends the look at all of them."""
    await office.pay(CENT)
    seat = await office.seat("w", LeaseLimits(call_leases=2))
    clients = [Client(pool=f"pool {n}", numbers=itertools.count(1000 * n)) for n in range(5)]
    for client in clients:
        await client.ask(seat, OPEN_ASKS)
    await office.live(STEP_S, seat)
    assert (len(await office.leases()), office.watched.tends) == (5, 3)
    for client in clients:
        await client.ask(seat, 8)
    office.watched.lost_replies = 1
    await office.live(STEP_S, seat)
    assert [client.draw(seat) for client in clients] == [None] * 5
    assert office.watched.tends == 4
    await office.live(STEP_S, seat)
    assert await office.leases() == ()
    assert await office.live_ids() == set().union(*[client.admitted for client in clients])


async def test_a_barrier_suspends_leases_until_they_are_found_again(office: WatchedOffice) -> None:
    """While another worker builds a copy, of any account, nothing is drawn; afterwards the lease
    goes on."""
    await office.pay(CENT)
    await office.pay(CENT, B)
    client = Client()
    one = await leased(office, client, "one")
    two = await office.seat("two")
    client.draw(one)
    assert isinstance(await Client(account=B).ask_once(two), Admitted)
    assert one.journal.depth == 0
    assert client.draw(one) is None
    await office.live(STEP_S, one)
    assert isinstance(client.draw(one), Admitted)
    assert len(await office.leases()) == 1


async def test_building_a_copy_suspends_ones_own_leases_of_that_account(
    office: WatchedOffice,
) -> None:
    """And leaves the others alone."""
    await office.pay(CENT)
    await office.pay(CENT, B)
    client = Client()
    seat = await leased(office, client)
    assert isinstance(await Client(account=B, pool="").ask_once(seat), Admitted)
    assert isinstance(client.draw(seat), Admitted)
    await office.hot.drop([A])
    assert isinstance(await Client(pool="", numbers=client.numbers).ask_once(seat), Admitted)
    assert client.draw(seat) is None
    await office.live(STEP_S, seat)
    assert client.draw(seat) is None
    assert await office.leases() == ()
    assert await office.live_ids() >= client.admitted


async def test_a_flushed_hot_copy_is_built_from_the_journal_draws_included(
    office: WatchedOffice,
) -> None:
    """The lease is void, and what was drawn from it counts, to the last nano."""
    await office.pay(1000)
    client = Client()
    one = await leased(office, client, "one")
    two = await office.seat("two")
    await client.ask(one, 9)
    office.hot.flush()
    await client.ask(one, 2)
    used = len(client.admitted)
    rest = Client(amount_nanos=1000 - used + 1, pool="", numbers=client.numbers)
    assert await rest.ask_once(two) == Short(CREDITS, 1000 - used, 1000 - used + 1)
    assert client.draw(one) is None
    rest.amount_nanos -= 1
    assert await rest.ask_once(two) == Admitted(0)
    await office.live(STEP_S, one)
    assert client.draw(one) is None
    assert await office.live_ids() == client.admitted | rest.admitted


async def test_a_worker_whose_heartbeat_is_old_draws_nothing(office: WatchedOffice) -> None:
    """Others may take it for dead and build copies without it. After the gap only what was found
    since counts."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    for _ in range(19):
        office.clock_s += STEP_S
        await client.ask(seat, 1)
        await seat.leases.tend()
    assert isinstance(client.draw(seat), Admitted)
    office.clock_s += STEP_S
    await seat.leases.tend()
    assert client.draw(seat) is None
    seat.fence.confirm(office.clock_s + 0.01)
    office.clock_s += 0.02
    assert client.draw(seat) is None
    office.clock_s += 0.1
    await seat.leases.tend()
    assert isinstance(client.draw(seat), Admitted)


async def test_a_lease_that_was_not_looked_after_is_not_drawn_from(office: WatchedOffice) -> None:
    """It surely stands for a moment after it was found, and no longer."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    found_s = office.clock_s
    seat.fence.confirm(found_s + 0.3)
    office.clock_s = found_s + 0.39
    assert isinstance(client.draw(seat), Admitted)
    office.clock_s = found_s + 0.4
    assert client.draw(seat) is None


async def test_a_worker_that_stops_gives_back(office: WatchedOffice) -> None:
    """Its draws are told and journaled, its leases are closed, and its place is free."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 3)
    await seat.worker.stop()
    assert await office.leases() == ()
    assert await office.live_ids() == client.admitted
    assert await office.available() == CENT - len(client.admitted)
    assert (seat.journal.depth, office.shared.flushed) == (0, {})
    assert len(office.ledger.register.pending(A)) == len(client.admitted)
    assert client.draw(seat) is None


async def test_a_worker_stops_without_the_hot_copy(office: WatchedOffice) -> None:
    """What it cannot give back stays held; the journal is written all the same."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 3)
    office.hot.away = True
    await seat.worker.stop()
    office.hot.away = False
    assert len(await office.leases()) == 1
    assert len(office.ledger.register.pending(A)) == len(client.admitted)


async def test_an_answer_of_another_epoch_is_void(office: WatchedOffice) -> None:
    """The epoch rose while a call was under way: perhaps a void copy granted it."""
    await office.pay(CENT)
    seat, client = await office.seat("w"), Client()
    await client.ask(seat, OPEN_ASKS)

    async def raise_epoch() -> None:
        office.shared.epoch = Epoch(office.shared.epoch.number + 1, "other")
        await seat.epoch.refresh()

    office.watched.meanwhile = raise_epoch
    await seat.leases.tend()
    assert len(await office.leases()) == 1
    assert client.draw(seat) is None
    await office.live(STEP_S, seat)
    assert await office.leases() == ()


async def test_a_look_that_is_broken_off_is_made_good(office: WatchedOffice) -> None:
    """A request that was short and left takes no draws with it: its call is made again."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 8)

    async def never() -> None:
        await asyncio.Event().wait()

    office.watched.meanwhile = never
    giving = asyncio.create_task(seat.leases.give_back(A))
    await settle_down()
    giving.cancel()
    with suppress(asyncio.CancelledError):
        await giving
    await office.live(STEP_S, seat)
    assert (await office.leases(), await office.live_ids()) == ((), client.admitted)
    assert await office.available() == CENT - len(client.admitted)


async def test_what_is_drawn_during_a_call_is_told_by_the_next(office: WatchedOffice) -> None:
    """A worker does not stop admitting while it tells."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 8)

    async def draw() -> None:
        assert isinstance(client.draw(seat), Admitted)

    office.watched.meanwhile = draw
    await office.live(STEP_S, seat)
    assert client.admitted - await office.live_ids() != set()
    await office.live(0.1, seat)
    assert client.admitted == await office.live_ids()


async def test_a_call_under_way_at_a_barrier_finds_nothing(office: WatchedOffice) -> None:
    """It may have come before the copy went: only a later one says that the lease stands."""
    await office.pay(CENT)
    client = Client()
    seat = await leased(office, client)
    await client.ask(seat, 8)
    office.watched.meanwhile = seat.worker.flush_own
    await office.live(STEP_S, seat)
    assert client.draw(seat) is None
    await office.live(0.1, seat)
    assert isinstance(client.draw(seat), Admitted)
