"""One suite for every ledger (memory, Postgres): balances, the chain, and what is owed."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from billing.errors import Conflict
from billing.ledger import GENESIS, PLATFORM, LedgerCode, chain_hash
from billing.reservations import Publication
from billing.stores.protocol import QuarantineRow
from billing.subscriptions import Subscription
from tests.contract.ledger_bench import (
    AFTER_US,
    CHARGING_ROUTE,
    NOW_S,
    NOW_US,
    PAID,
    A,
    B,
    LedgerBench,
    journal_row,
    posted,
    released,
    reservation_id,
    settlement,
    snapshot,
    used_of,
    version,
)

HOUR_S, DAY_S = 3600, 86_400
pytestmark = pytest.mark.usefixtures("paid_accounts")


async def every_kind_of_write(ledger: LedgerBench) -> None:
    """Settle, release, expire with and without a charge, come late, double and contradict."""
    rows = [
        journal_row(settlement(n, route=CHARGING_ROUTE if n < 10 else "chat")) for n in range(8, 13)
    ]
    await ledger.journal.record(rows)
    await ledger.store.settle([settlement(1, 60, provider_cost_nanos=20), released(2)], NOW_US)
    await ledger.store.settle([settlement(3, 7, account_id=B), settlement(1, 60)], NOW_US)
    await ledger.store.expire(AFTER_US, 10)
    await ledger.topup(B, 1000, "second")
    await ledger.store.settle([settlement(8, 5), settlement(10, 6), released(9)], AFTER_US)


async def test_balances_are_the_replay_of_transfers(ledger: LedgerBench) -> None:
    """Every ledger account has exactly what its transfers say, and both sides are equal."""
    await every_kind_of_write(ledger)
    replayed: dict[tuple[str, LedgerCode], list[int]] = {}
    for transfer in await ledger.transfers():
        for side, code in enumerate((transfer.debit_code, transfer.credit_code)):
            owner = transfer.account_id if code == "credits" else PLATFORM
            replayed.setdefault((owner, code), [0, 0])[side] += transfer.amount_nanos
    balances = {key: list(sides) for key, sides in (await ledger.balances()).items() if any(sides)}
    assert balances == replayed
    assert sum(debits for debits, _ in balances.values()) == sum(c for _, c in balances.values())
    assert await posted(ledger, A) == balances[A, "credits"][1] - balances[A, "credits"][0]


async def test_every_batch_is_chained(ledger: LedgerBench) -> None:
    """The chain hangs together from the genesis and covers each transfer and event once."""
    await every_kind_of_write(ledger)
    chain = await ledger.chain()
    previous = GENESIS
    for link in chain:
        assert link.previous_hash == previous
        assert link.hash == chain_hash(previous, link.lines)
        previous = link.hash
    assert [link.batch_id for link in chain] == list(range(1, len(chain) + 1))
    lines = [line for link in chain for line in link.lines]
    assert len(lines) == len(await ledger.transfers()) + len(await ledger.events())
    assert {transfer.line() for transfer in await ledger.transfers()} <= set(lines)


async def test_batches_of_writers_at_once_form_one_chain(ledger: LedgerBench) -> None:
    """Settlers, top-ups and expiry that run together line up: no fork, no gap."""
    await ledger.journal.record([journal_row(settlement(n)) for n in range(50, 60)])
    await asyncio.gather(
        *(ledger.store.settle([settlement(n, n), released(n + 20)], NOW_US) for n in range(1, 9)),
        *(ledger.topup(B, 10, f"top-up {n}") for n in range(4)),
        *(ledger.store.expire(AFTER_US, 5) for _ in range(2)),
    )
    chain = await ledger.chain()
    assert [link.batch_id for link in chain] == list(range(1, len(chain) + 1))
    hashes = [GENESIS, *(link.hash for link in chain)]
    assert [link.previous_hash for link in chain] == hashes[:-1]
    states = list((await ledger.states()).values())
    assert {state: states.count(state) for state in states} == {
        "settled": 8,
        "released": 8,
        "expired": 10,
    }


async def test_a_version_rises_with_each_batch(ledger: LedgerBench) -> None:
    """Each transaction that touches an account makes a newer version; others leave it alone."""
    seen = [await version(ledger)]
    await ledger.store.settle([settlement(1, 1), settlement(2, 1)], NOW_US)
    seen.append(await version(ledger))
    await ledger.store.settle([settlement(3, 1, account_id=B)], NOW_US)
    assert await version(ledger) == seen[-1]
    await ledger.topup(A, 5, "more")
    seen.append(await version(ledger))
    await ledger.journal.record([journal_row(settlement(4))])
    await ledger.store.expire(AFTER_US, 10)
    seen.append(await version(ledger))
    assert seen == [seen[0], seen[0] + 1, seen[0] + 2, seen[0] + 3]


async def test_a_topup_is_posted_once_per_reference(ledger: LedgerBench) -> None:
    """A repeated reference changes nothing; a new one pays in again."""
    assert await ledger.topup(A, 100, "invoice 7")
    before = await snapshot(ledger)
    assert not await ledger.topup(A, 100, "invoice 7")
    assert await snapshot(ledger) == before
    assert await posted(ledger) == PAID + 100
    assert await ledger.topup(B, 100, "invoice 7")


async def test_a_reference_with_another_amount_is_a_conflict(ledger: LedgerBench) -> None:
    """The same reference cannot stand for two amounts."""
    await ledger.topup(A, 100, "invoice 7")
    before = await snapshot(ledger)
    with pytest.raises(Conflict):
        await ledger.topup(A, 101, "invoice 7")
    assert await snapshot(ledger) == before


async def test_a_reference_sent_twice_at_once(ledger: LedgerBench) -> None:
    """Of top-ups that race with one reference, one is posted."""
    done = await asyncio.gather(*(ledger.topup(A, 100, "invoice 7") for _ in range(6)))
    assert sorted(done) == [False] * 5 + [True]
    assert await posted(ledger) == PAID + 100


async def test_the_truth_of_an_account(ledger: LedgerBench) -> None:
    """Balance, overdraft and pending reservations; unknown accounts are left out."""
    live = [settlement(1), settlement(2)]
    await ledger.journal.record([journal_row(one) for one in (*live, settlement(3))])
    await ledger.store.settle([settlement(3, 60)], NOW_US)
    unknown = "0198c0de-0000-7000-8000-00000000000c"
    found = await ledger.truth.truth([A, B, unknown], NOW_S)
    assert set(found) == {A, B}
    assert (found[A].posted_nanos, found[A].overdraft_nanos) == (PAID - 60, 50)
    assert sorted(found[A].pending) == [(one.reservation_id, one.record) for one in live]
    assert (found[B].posted_nanos, found[B].overdraft_nanos, list(found[B].pending)) == (0, 0, [])
    assert await ledger.truth.truth([], NOW_S) == {}


async def test_the_journal_takes_a_reservation_once(ledger: LedgerBench) -> None:
    """A row that comes again, with the same or another hold, changes nothing."""
    row = journal_row(settlement(1))
    await ledger.journal.record([row])
    before = await snapshot(ledger)
    await ledger.journal.record([row, row._replace(record="7|9", held_nanos=7)])
    await ledger.journal.record([])
    assert await snapshot(ledger) == before


async def test_what_is_published_is_what_the_truth_says(ledger: LedgerBench) -> None:
    """The publication of a batch and a snapshot taken after it agree on money and version."""
    await ledger.store.settle([settlement(1, 60)], NOW_US)
    batch = await ledger.store.settle([settlement(2, 7), released(3)], NOW_US)
    truth = (await ledger.truth.truth([A], NOW_S))[A]
    said = batch.publications[0]
    assert (said.posted_nanos, said.overdraft_nanos, said.version) == (
        truth.posted_nanos,
        truth.overdraft_nanos,
        truth.version,
    )
    assert used_of(said).items() <= used_of(truth).items()


async def promised(ledger: LedgerBench) -> Mapping[int, Sequence[Publication]]:
    """Every batch that was committed and not told of; orders of money owe theirs below 0."""
    owed = await ledger.truth.promises(0.0, 100, NOW_S + 5 * DAY_S)
    return {number: said for number, said in owed.items() if number > 0}


async def test_each_batch_owes_its_publication(ledger: LedgerBench) -> None:
    """What a settler that died did not tell is found again, batch by batch, until it is kept."""
    rows = [journal_row(settlement(n)) for n in (4, 5)]
    await ledger.journal.record(rows)
    batches = [
        await ledger.store.settle([settlement(1, 60), settlement(2, 7, account_id=B)], NOW_US),
        await ledger.store.settle([released(3)], NOW_US),
        await ledger.store.expire(AFTER_US, 10),
    ]
    owed = await promised(ledger)
    assert sorted(owed) == sorted(batch.batch_id for batch in batches)
    for batch in batches:
        told = {said.account_id: sorted(said.ended) for said in owed[batch.batch_id]}
        assert told == {said.account_id: sorted(said.ended) for said in batch.publications}
    await ledger.truth.kept([batches[0].batch_id])
    assert sorted(await promised(ledger)) == sorted(batch.batch_id for batch in batches[1:])
    await ledger.truth.kept([batch.batch_id for batch in batches])
    assert await promised(ledger) == {}


async def test_a_promise_is_kept_with_what_stands_now(ledger: LedgerBench) -> None:
    """A publication that is made up for carries the newest balance and usage, not those of then."""
    terms = Subscription(
        "llm", "pro", "active", None, None, None, NOW_S - HOUR_S, NOW_S + 9 * DAY_S
    )
    await ledger.subscribe(A, terms, "month", 1)
    first = await ledger.store.settle([settlement(1, 60)], NOW_US)
    await ledger.store.settle([settlement(2, 7)], NOW_US)
    (said,) = (await promised(ledger))[first.batch_id]
    truth = (await ledger.truth.truth([A], NOW_S))[A]
    assert (said.posted_nanos, said.version) == (PAID - 67, truth.version)
    assert used_of(said)["period:llm"] == (NOW_S - HOUR_S, 67)


async def test_young_promises_are_left_to_their_settler(ledger: LedgerBench) -> None:
    """Who makes up for others waits as long as they may need, and takes at most so many."""
    for number in range(1, 4):
        await ledger.store.settle([settlement(number, 1)], NOW_US)
    assert await ledger.truth.promises(HOUR_S, 100, NOW_S) == {}
    assert len(await ledger.truth.promises(0.0, 2, NOW_S + 5 * DAY_S)) == 2


async def test_nothing_is_owed_for_duplicates(ledger: LedgerBench) -> None:
    """A batch that ended nothing has nothing to tell."""
    first = await ledger.store.settle([settlement(1, 60)], NOW_US)
    await ledger.truth.kept([first.batch_id])
    again = await ledger.store.settle([settlement(1, 60)], NOW_US)
    assert again.publications == ()
    assert await promised(ledger) == {}


async def test_quarantine_keeps_each_content_once(ledger: LedgerBench) -> None:
    """What cannot be settled is kept by reason and content, however often it comes."""
    rows = [
        QuarantineRow(A, reservation_id(1), "out_of_range", "entry"),
        QuarantineRow(None, None, "unreadable", "entry"),
        QuarantineRow(A, reservation_id(1), "out_of_range", "another"),
    ]
    await ledger.store.quarantine([*rows, rows[0]])
    await ledger.store.quarantine(rows[1:])
    await ledger.store.quarantine([])
    assert await ledger.quarantined() == [
        (reservation_id(1), "out_of_range"),
        (reservation_id(1), "out_of_range"),
        (None, "unreadable"),
    ]
