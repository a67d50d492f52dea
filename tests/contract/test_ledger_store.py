"""One suite for every ledger (memory, Postgres): how reservations end, and what that costs."""

import asyncio
from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_fields

from billing.errors import InvalidInput
from billing.ledger import Transfer, make_transfer
from tests.contract.ledger_bench import (
    AFTER_US,
    NOW_S,
    NOW_US,
    PAID,
    A,
    B,
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


# --- settled and released


async def test_a_settlement_charges_once_and_says_so(ledger: LedgerBench) -> None:
    """A billed entry ends its reservation, charges its price and publishes the new balance."""
    one = settlement(1, 60)
    await ledger.journal.record([journal_row(one)])
    before = await version(ledger)
    batch = await ledger.store.settle([one], NOW_US)
    assert (batch.settled, batch.released, batch.late, batch.duplicates) == (1, 0, 0, 0)
    assert (batch.conflicts, batch.charged_nanos) == ((), 60)
    assert batch.publications == (
        replace(batch.publications[0], account_id=A, posted_nanos=PAID - 60, version=before + 1),
    )
    assert batch.publications[0].ended == (one.reservation_id,)
    assert await ledger.states() == {one.reservation_id: "settled"}
    assert await posted(ledger) == PAID - 60
    assert await version(ledger) == before + 1


async def test_the_transfers_of_a_settlement(ledger: LedgerBench) -> None:
    """The price goes from credits to revenue, the provider's cost from cost to payable."""
    await ledger.store.settle([settlement(1, 60, provider_cost_nanos=20)], NOW_US)
    ident = reservation_id(1)
    made = [transfer for transfer in await ledger.transfers() if transfer.source_id == ident]
    assert made == [
        make_transfer(A, ident, "charge", 60, NOW_US),
        make_transfer(A, ident, "cost", 20, NOW_US),
    ]
    assert made[0] == Transfer(A, ident, "charge", "credits", "revenue", 60, NOW_US)


@pytest.mark.parametrize(
    ("price", "cost", "kinds"),
    [
        (60, None, [("charge", 60)]),
        (60, 0, [("charge", 60)]),
        (60, 60, [("charge", 60), ("cost", 60)]),
        (0, 20, [("cost", 20)]),
        (0, None, []),
        (1, 1, [("charge", 1), ("cost", 1)]),
        (2**61, 2**61, [("charge", 2**61), ("cost", 2**61)]),
    ],
)
async def test_only_amounts_above_zero_are_posted(
    ledger: LedgerBench, price: int, cost: int | None, kinds: list[tuple[str, int]]
) -> None:
    """What is free, or whose cost nobody knows, makes no row; an event is kept all the same."""
    await ledger.store.settle([settlement(1, price, provider_cost_nanos=cost)], NOW_US)
    assert await money_of(ledger, 1) == kinds
    assert await ledger.events() == [
        UsageEvent(reservation_id(1), "answered", "billed", 3, price, cost)
    ]
    assert await posted(ledger) == PAID - price


async def test_a_release_costs_nothing(ledger: LedgerBench) -> None:
    """An entry that is not billed ends its reservation, and leaves neither money nor an event."""
    one = released(1, provider_cost_nanos=20)
    await ledger.journal.record([journal_row(one)])
    batch = await ledger.store.settle([one], NOW_US)
    assert (batch.settled, batch.released, batch.charged_nanos) == (0, 1, 0)
    assert [publication.ended for publication in batch.publications] == [(one.reservation_id,)]
    assert await ledger.states() == {one.reservation_id: "released"}
    assert await money_of(ledger, 1) == []
    assert await ledger.events() == []
    assert await posted(ledger) == PAID


async def test_an_answer_without_usage_is_kept_for_review(ledger: LedgerBench) -> None:
    """What could not be priced is recorded with its status, so that a person finds it."""
    odd = settlement(1, 0, outcome="no_usage", status="needs_review", review="missing", units=0)
    await ledger.store.settle([odd], NOW_US)
    assert await ledger.events() == [
        UsageEvent(odd.reservation_id, "no_usage", "needs_review", 0, 0, None)
    ]


async def test_a_price_above_the_hold_is_charged_in_full(ledger: LedgerBench) -> None:
    """Usage beyond the reservation is owed all the same, below zero if need be."""
    await ledger.store.settle([settlement(1, PAID + 7)], NOW_US)
    assert await posted(ledger) == -7


async def test_a_settlement_may_come_before_its_journal_entry(ledger: LedgerBench) -> None:
    """The journal's row of an ended reservation does not bring it back to life."""
    one = settlement(1, 60)
    batch = await ledger.store.settle([one], NOW_US)
    assert batch.settled == 1
    await ledger.journal.record([journal_row(one)])
    assert await ledger.states() == {one.reservation_id: "settled"}
    assert (await ledger.truth.truth([A], NOW_S))[A].pending == []
    assert (await ledger.store.expire(AFTER_US, 10)).released == 0


async def test_nothing_to_settle(ledger: LedgerBench) -> None:
    """An empty batch changes nothing and publishes nothing."""
    before = await snapshot(ledger)
    batch = await ledger.store.settle([], NOW_US)
    assert batch.publications == ()
    assert await snapshot(ledger) == before


async def test_one_batch_over_two_accounts(ledger: LedgerBench) -> None:
    """Each account gets one publication with all that ended of it, and one new version."""
    before = (await version(ledger, A), await version(ledger, B))
    batch = await ledger.store.settle(
        [settlement(1, 10), settlement(2, 20, account_id=B), settlement(3, 30), released(4)], NOW_US
    )
    said = {publication.account_id: publication for publication in batch.publications}
    assert len(batch.publications) == len(said) == 2
    assert sorted(said[A].ended) == [reservation_id(number) for number in (1, 3, 4)]
    assert said[B].ended == (reservation_id(2),)
    assert (said[A].posted_nanos, said[B].posted_nanos) == (PAID - 40, -20)
    assert (said[A].version, said[B].version) == (before[0] + 1, before[1] + 1)
    assert (batch.settled, batch.released, batch.charged_nanos) == (3, 1, 60)


# --- duplicates and conflicts


async def test_a_duplicate_changes_nothing(ledger: LedgerBench) -> None:
    """The same entry again, from the stream or the file, is counted and that is all."""
    one, other = settlement(1, 60, provider_cost_nanos=20), released(2)
    await ledger.store.settle([one, other], NOW_US)
    before = await snapshot(ledger)
    again = replace_fields(one, completed_us=one.completed_us + 5, formula="read from the file")
    batch = await ledger.store.settle([again, other], NOW_US + 1)
    assert (batch.duplicates, batch.settled, batch.released, batch.late) == (2, 0, 0, 0)
    assert (batch.conflicts, batch.charged_nanos) == ((), 0)
    assert await snapshot(ledger) == before
    assert await ledger.quarantined() == []


@pytest.mark.parametrize(
    "change",
    [
        {"price_nanos": 61},
        {"units": 4},
        {"provider_cost_nanos": 21},
        {"outcome": "cut_short"},
        {"outcome": "not_answered", "billed": False, "price_nanos": 0},
    ],
    ids=",".join,
)
async def test_another_content_is_put_aside(ledger: LedgerBench, change: dict[str, object]) -> None:
    """The same reservation with other money or units is reported and charges nothing more."""
    one = settlement(1, 60, provider_cost_nanos=20)
    await ledger.store.settle([one], NOW_US)
    before = await snapshot(ledger)
    other = replace_fields(one, **change)
    batch = await ledger.store.settle([other], NOW_US + 1)
    assert batch.conflicts == (one.reservation_id,)
    assert (batch.duplicates, batch.settled, batch.released) == (0, 0, 0)
    assert await snapshot(ledger) == before
    assert await ledger.quarantined() == [(one.reservation_id, "conflict")]


async def test_a_conflict_is_put_aside_once(ledger: LedgerBench) -> None:
    """The same contradiction again is no new row; another contradiction is."""
    await ledger.store.settle([settlement(1, 60)], NOW_US)
    for price in (61, 61, 62):
        batch = await ledger.store.settle([settlement(1, price)], NOW_US)
        assert batch.conflicts == (reservation_id(1),)
    assert await ledger.quarantined() == [(reservation_id(1), "conflict")] * 2


async def test_a_mixed_batch_does_each_part(ledger: LedgerBench) -> None:
    """New, doubled and contradicting entries of one batch do not disturb each other."""
    await ledger.store.settle([settlement(1, 10), settlement(2, 20)], NOW_US)
    batch = await ledger.store.settle(
        [settlement(1, 10), settlement(2, 21), settlement(3, 30), released(4)], NOW_US
    )
    assert (batch.settled, batch.released, batch.duplicates) == (1, 1, 1)
    assert batch.conflicts == (reservation_id(2),)
    assert sorted(batch.publications[0].ended) == [reservation_id(3), reservation_id(4)]
    assert await posted(ledger) == PAID - 60


async def test_two_settlers_at_once_share_the_work(ledger: LedgerBench) -> None:
    """Batches that overlap and run at the same time settle each reservation exactly once."""
    entries = [settlement(number, number) for number in range(1, 41)]
    batches = await asyncio.gather(
        *(ledger.store.settle(entries[start : start + 20], NOW_US) for start in (0, 5, 10, 15, 20))
    )
    assert sum(batch.settled for batch in batches) == 40
    assert sum(batch.duplicates for batch in batches) == 60
    assert sum(batch.charged_nanos for batch in batches) == sum(range(1, 41))
    assert await posted(ledger) == PAID - sum(range(1, 41))
    ended = [ident for batch in batches for said in batch.publications for ident in said.ended]
    assert sorted(ended) == [reservation_id(number) for number in range(1, 41)]
    versions = [said.version for batch in batches for said in batch.publications]
    assert len(set(versions)) == len(versions)


# --- what cannot be written


async def test_an_unknown_account_stops_its_batch_alone(ledger: LedgerBench) -> None:
    """A batch with an entry that can never be written writes nothing; without it, it settles."""
    unknown = settlement(2, 20, account_id="0198c0de-0000-7000-8000-00000000000c")
    await ledger.store.settle([settlement(4, 0)], NOW_US)
    before = await snapshot(ledger)
    with pytest.raises(InvalidInput):
        await ledger.store.settle(
            [settlement(1, 10), unknown, settlement(3, 30), settlement(4, 40)], NOW_US
        )
    assert await snapshot(ledger) == before
    assert await ledger.quarantined() == []
    assert (await ledger.store.settle([settlement(1, 10), settlement(3, 30)], NOW_US)).settled == 2
    assert await posted(ledger) == PAID - 40


async def test_a_balance_beyond_its_range_stops_its_batch(ledger: LedgerBench) -> None:
    """What would leave the range of a balance is refused whole, never wrapped."""
    await ledger.store.settle([settlement(1, 2**62)], NOW_US)
    before = await snapshot(ledger)
    with pytest.raises(InvalidInput):
        await ledger.store.settle([settlement(2, 1)], NOW_US)
    assert await snapshot(ledger) == before
    assert await posted(ledger) == PAID - 2**62
