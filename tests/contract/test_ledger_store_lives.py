"""One suite for every ledger (memory, Postgres): every way through the table of states."""

import asyncio
from itertools import product
from typing import get_args

import pytest
from msgspec.structs import replace

from billing.ledger import Settlement
from billing.reservations import TRANSITIONS, Event, Publication, State
from tests.contract.ledger_bench import (
    AFTER_US,
    CHARGING_ROUTE,
    EXPIRES_S,
    NOW_US,
    PAID,
    A,
    LedgerBench,
    journal_row,
    money_of,
    posted,
    released,
    reservation_id,
    settlement,
    snapshot,
    version,
)
from tests.contract.ledger_bench import Event as UsageEvent

pytestmark = pytest.mark.usefixtures("paid_accounts")


async def bring(ledger: LedgerBench, one: Settlement, state: State) -> None:
    """Bring a reservation into a state the way it comes there."""
    await ledger.journal.record([journal_row(one)])
    if state in {"expired", "late"}:
        assert (await ledger.store.expire(AFTER_US, 10)).released == 1
    if state in {"settled", "late"}:
        await ledger.store.settle([one], AFTER_US)
    if state == "released":
        await ledger.store.settle([released(1)], AFTER_US)
    assert await ledger.states() == {one.reservation_id: state}


@pytest.mark.parametrize(
    ("state", "event"), list(product(get_args(State), get_args(Event))), ids=str
)
async def test_every_state_meets_every_event(
    ledger: LedgerBench, state: State, event: Event
) -> None:
    """The ledger follows the table of states, and what is not in it changes nothing."""
    one = settlement(1, 60)
    await bring(ledger, one, state)
    before = await snapshot(ledger)
    if event == "lifetime_over":
        await ledger.store.expire(AFTER_US, 10)
    else:
        await ledger.store.settle([one if event == "billed" else released(1)], AFTER_US + 1)
    following = TRANSITIONS.get((state, event))
    assert await ledger.states() == {one.reservation_id: following or state}
    if following is None:
        assert await snapshot(ledger) == before
    else:
        assert await posted(ledger) == PAID - (60 if event == "billed" else 0)


async def test_what_is_overdue_expires(ledger: LedgerBench) -> None:
    """At its end of life a pending reservation is released; a second before it is not."""
    await ledger.journal.record([journal_row(settlement(1))])
    assert (await ledger.store.expire((EXPIRES_S - 1) * 1_000_000, 10)).released == 0
    before = await version(ledger)
    batch = await ledger.store.expire(EXPIRES_S * 1_000_000, 10)
    assert (batch.released, batch.charged_nanos) == (1, 0)
    assert batch.publications == (
        Publication(A, PAID, 50, before + 1, batch.publications[0].used, (reservation_id(1),)),
    )
    assert await ledger.states() == {reservation_id(1): "expired"}
    assert (await ledger.store.expire(AFTER_US, 10)).publications == ()


async def test_the_longest_overdue_expire_first(ledger: LedgerBench) -> None:
    """At most so many at a time, the oldest first, until none is left."""
    rows = [journal_row(settlement(n, expires_s=EXPIRES_S - n)) for n in range(1, 6)]
    await ledger.journal.record(rows)
    ended = []
    for _ in range(3):
        batch = await ledger.store.expire(AFTER_US, 2)
        ended.append(sorted(i for said in batch.publications for i in said.ended))
    names = [reservation_id(number) for number in range(1, 6)]
    assert ended == [[names[3], names[4]], [names[1], names[2]], [names[0]]]


async def test_a_route_may_charge_the_quote_on_expiry(ledger: LedgerBench) -> None:
    """Where the route says so, a reservation without an entry costs what was quoted."""
    rows = [
        journal_row(settlement(1, route=CHARGING_ROUTE)),
        journal_row(settlement(2)),
        journal_row(settlement(3, route=CHARGING_ROUTE, quoted_nanos=0, held_nanos=0)),
    ]
    await ledger.journal.record(rows)
    batch = await ledger.store.expire(AFTER_US, 10)
    assert (batch.released, batch.charged_nanos) == (3, 250)
    assert await money_of(ledger, 1) == [("expiry", 250)]
    assert await money_of(ledger, 2) == await money_of(ledger, 3) == []
    assert batch.publications[0].posted_nanos == await posted(ledger) == PAID - 250


async def test_a_late_entry_is_charged(ledger: LedgerBench) -> None:
    """When the log comes after all, the request costs its price and is marked as late."""
    await bring(ledger, settlement(1, 60), "expired")
    batch = await ledger.store.settle([settlement(1, 60, provider_cost_nanos=5)], AFTER_US)
    assert (batch.late, batch.settled, batch.duplicates, batch.charged_nanos) == (1, 0, 0, 60)
    assert await money_of(ledger, 1) == [("charge", 60), ("cost", 5)]
    assert await ledger.events() == [UsageEvent(reservation_id(1), "answered", "late", 3, 60, 5)]
    assert await posted(ledger) == PAID - 60
    assert batch.publications[0].ended == (reservation_id(1),)


@pytest.mark.parametrize(
    ("entry", "after"),
    [
        (settlement(1, 60, route=CHARGING_ROUTE), PAID - 60),
        (settlement(1, 900, route=CHARGING_ROUTE), PAID - 900),
        (settlement(1, 0, route=CHARGING_ROUTE), PAID),
        (released(1, route=CHARGING_ROUTE), PAID),
    ],
    ids=["less", "more", "free", "not billed"],
)
async def test_a_late_entry_gives_an_expiry_charge_back(
    ledger: LedgerBench, entry: Settlement, after: int
) -> None:
    """In the end a late request costs its price and not the quote that stood in for it."""
    await ledger.journal.record([journal_row(entry)])
    await ledger.store.expire(AFTER_US, 10)
    assert await posted(ledger) == PAID - 250
    batch = await ledger.store.settle([entry], AFTER_US)
    assert (batch.late, batch.charged_nanos) == (1, entry.price_nanos)
    charge = [("charge", entry.price_nanos)] if entry.price_nanos else []
    assert await money_of(ledger, 1) == [*charge, ("expiry", 250), ("refund", 250)]
    assert batch.publications[0].posted_nanos == await posted(ledger) == after


async def test_a_late_entry_comes_once(ledger: LedgerBench) -> None:
    """A late entry again is a duplicate, and with another content a conflict."""
    entry = settlement(1, 60, route=CHARGING_ROUTE)
    await ledger.journal.record([journal_row(entry)])
    await ledger.store.expire(AFTER_US, 10)
    await ledger.store.settle([entry], AFTER_US)
    before = await snapshot(ledger)
    assert (await ledger.store.settle([entry], AFTER_US)).duplicates == 1
    assert (await ledger.store.settle([replace(entry, price_nanos=1)], AFTER_US)).conflicts
    assert await snapshot(ledger) == before


async def test_a_longer_life_is_granted_to_the_pending(ledger: LedgerBench) -> None:
    """Extended reservations expire at their new end, which never moves back."""
    await ledger.journal.record([journal_row(settlement(1)), journal_row(settlement(2))])
    lives = [(A, reservation_id(1), EXPIRES_S + 60), (A, reservation_id(1), EXPIRES_S + 30)]
    for life in lives:
        await ledger.store.extend([life])
    batch = await ledger.store.expire((EXPIRES_S + 59) * 1_000_000, 10)
    assert [said.ended for said in batch.publications] == [(reservation_id(2),)]
    assert (await ledger.store.expire((EXPIRES_S + 60) * 1_000_000, 10)).released == 1


async def test_extending_the_ended_is_harmless(ledger: LedgerBench) -> None:
    """A periodic entry that comes too late brings no reservation back to life."""
    await ledger.store.settle([settlement(1, 60)], NOW_US)
    before = await snapshot(ledger)
    await ledger.store.extend(
        [(A, reservation_id(1), EXPIRES_S + 60), (A, reservation_id(9), EXPIRES_S + 60)]
    )
    await ledger.store.extend([])
    assert await snapshot(ledger) == before
    assert (await ledger.store.expire(AFTER_US + 10**9, 10)).released == 0


async def test_settling_expiring_and_journaling_at_once(ledger: LedgerBench) -> None:
    """Whoever comes first ends a reservation; none ends twice, is lost, or comes back to life."""
    entries = [settlement(number, number) for number in range(1, 61)]
    rows = [journal_row(entry) for entry in entries]
    await ledger.journal.record(rows[:40])
    done = await asyncio.gather(
        ledger.journal.record(rows[20:]),
        ledger.store.settle(entries[:30], AFTER_US),
        ledger.store.expire(AFTER_US, 20),
        ledger.store.settle(entries[30:][::-1], AFTER_US),
        ledger.store.expire(AFTER_US, 20),
        ledger.journal.record(rows[::-1]),
    )
    batches = [batch for batch in done if batch is not None]
    states = list((await ledger.states()).values())
    assert len(states) == 60
    assert set(states) <= {"settled", "late"}
    assert sum(batch.settled for batch in batches) == states.count("settled")
    assert sum(batch.late for batch in batches) == states.count("late")
    assert sum(batch.released for batch in batches) == states.count("late")
    assert await posted(ledger) == PAID - sum(range(1, 61))
