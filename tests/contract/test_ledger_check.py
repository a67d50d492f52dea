"""The ledger check over a real Postgres: passes what is in order, finds each kind of damage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from billing.accounts import Account
from billing.stores.postgres_access import Connection
from billing.stores.postgres_check import last_check, replayable_accounts
from tests.contract.desks import ANNA, Office, open_office
from tests.contract.every_kind import every_kind
from tests.contract.ledger_damage import DAMAGE, Damage
from tests.contract.paid_work import PaidWork
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.operations import accounts, orders

WHOLE = CheckAsk(whole=True)


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A desk over the test's own database."""
    async with open_office(database) as opened:
        yield opened


@pytest.fixture
async def account(office: Office) -> Account:
    """An account after every kind of transfer and every end of a reservation."""
    await office.sells("llm")
    account = await office.account(paid_nanos=5000)
    await office.subscribes(account)
    await every_kind(office, account)
    return account


async def test_ledger_in_order_passes(office: Office, account: Account) -> None:
    """With every kind of row in it, all invariants hold, and the states are counted."""
    report = await check_ledger(office.desk, WHOLE, _silent)
    assert report.verdict == "ledger check: ok"
    assert [proof.invariant for proof in report.proofs] == [1, 2, 3, 4, 5, 6, 7, 8]
    ends = "1 expired, 1 late, 1 pending, 1 released, 1 settled"
    assert report.proofs[4].checked == f"5 admitted = {ends}"
    assert report.proofs[6].skipped.startswith("no Redis")


async def test_empty_ledger_passes(office: Office) -> None:
    """A ledger without any batch breaks nothing."""
    report = await check_ledger(office.desk, WHOLE, _silent)
    assert (report.verdict, report.through_batch) == ("ledger check: ok", 0)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.sql[:60])
async def test_damage_is_found_and_named(office: Office, account: Account, damage: Damage) -> None:
    """A row that was changed by somebody above all triggers breaks its invariant, and is named."""
    async with office.desk.access.writing("damage") as connection:
        await _above_triggers(connection, damage.sql)
    report = await check_ledger(office.desk, WHOLE, _silent)
    proof = report.proofs[damage.invariant - 1]
    assert not proof.holds
    assert damage.row in proof.broken_row
    assert damage.how in proof.broken_how
    assert "is broken" in report.verdict


async def test_check_goes_on_from_the_last_one(office: Office, account: Account) -> None:
    """The second check looks only at what came after the first; the whole looks at everything."""
    first = await check_ledger(office.desk, CheckAsk(), _silent)
    await every_kind(office, account, suffix=" again")
    second = await check_ledger(office.desk, CheckAsk(), _silent)
    whole = await check_ledger(office.desk, WHOLE, _silent)
    assert (first.since_batch, second.since_batch) == (0, first.through_batch)
    assert second.through_batch == whole.through_batch > first.through_batch
    assert {first.verdict, second.verdict, whole.verdict} == {"ledger check: ok"}


async def test_check_that_goes_on_still_finds_any_changed_balance(
    office: Office, account: Account
) -> None:
    """The totals show that a balance was changed which no new batch touched, and it is named."""
    other = await office.account("quiet", paid_nanos=10)
    await check_ledger(office.desk, CheckAsk(), _silent)
    await PaidWork(office).settle(PaidWork(office).request(account, 5))
    async with office.desk.access.writing("damage") as connection:
        await connection.execute(
            "UPDATE ledger_accounts SET credits = credits + 1 WHERE account_id = $1", other.id
        )
    report = await check_ledger(office.desk, CheckAsk(), _silent)
    assert report.proofs[1].broken_row == f"ledger account credits of {other.id}"


async def test_replay_of_what_moved_has_a_bound(office: Office, account: Account) -> None:
    """Accounts are replayed in turn, as many as fit; one that is too long by itself is left out."""
    accounts = [await office.account(f"small {n}", paid_nanos=10) for n in range(4)]
    await check_ledger(office.desk, CheckAsk(), _silent)
    work = PaidWork(office)
    await work.settle(*(work.request(one, 1) for one in accounts))
    for most, replayed in ((1, 0), (2, 1), (5, 2), (100, 4)):
        async with office.desk.view("test") as view:
            since = await last_check(view.connection)
            found = await replayable_accounts(view.connection, since.batch_id, most)
        assert (len(found[0]), found[1]) == (replayed, 4)
    report = await check_ledger(office.desk, CheckAsk(most_replayed=5), _silent)
    assert report.proofs[1].checked.endswith("2 of 4 that moved replayed")
    assert report.verdict == "ledger check: ok"


async def test_bounded_replay_still_finds_damage(office: Office, account: Account) -> None:
    """A replayed account is named; what does not add up shows in the totals, wherever it is."""
    other = await office.account("other", paid_nanos=100)
    await check_ledger(office.desk, CheckAsk(), _silent)
    await PaidWork(office).settle(PaidWork(office).request(other, 5))
    moved = (
        "UPDATE ledger_accounts SET credits = credits + $2 "
        "WHERE account_id = $1 AND code = 'credits'"
    )
    await office.pool.execute(moved, other.id, 7)
    ask = CheckAsk(most_replayed=1000)
    broken = (await check_ledger(office.desk, ask, _silent)).proofs[1]
    assert broken.broken_row == "ledger accounts"
    assert "of credits have debits" in broken.broken_how
    await office.pool.execute(moved, account.id, -7)
    broken = (await check_ledger(office.desk, ask, _silent)).proofs[1]
    assert broken.broken_row == f"ledger account credits of {other.id}"


async def test_rewritten_past_is_found_by_the_hash_that_was_checked(
    office: Office, account: Account
) -> None:
    """Whoever writes an earlier batch anew, consistently, does not match the kept hash."""
    first = await check_ledger(office.desk, CheckAsk(), _silent)
    async with office.desk.access.writing("damage") as connection:
        await _above_triggers(
            connection,
            "UPDATE batches SET hash = sha256('x') WHERE id = (SELECT max(id) FROM batches)",
        )
    assert first.verdict == "ledger check: ok"
    report = await check_ledger(office.desk, CheckAsk(), _silent)
    assert report.proofs[7].broken_how == "was checked with another hash"


async def test_broken_ledger_is_not_marked_as_checked(office: Office, account: Account) -> None:
    """After a failure the next check begins where the last good one ended."""
    async with office.desk.access.writing("damage") as connection:
        await _above_triggers(connection, "UPDATE usage_events SET facts = '{}'")
    for _ in range(2):
        report = await check_ledger(office.desk, CheckAsk(), _silent)
        assert (report.since_batch, report.proofs[7].holds) == (0, False)


async def test_balance_that_sank_after_the_admission_is_told_not_broken(
    office: Office, account: Account
) -> None:
    """A correction below what is held is a remark with its account; the invariant holds."""
    async with office.desk.act(ANNA, "test") as act:
        await orders.correct(act, account.id, -20_000, "chargeback", reason="fraud")
    report = await check_ledger(office.desk, WHOLE, _silent)
    assert report.verdict == "ledger check: ok"
    assert account.id in report.proofs[5].notices[0]


async def test_lower_overdraft_is_told_not_broken(office: Office) -> None:
    """What was admitted within an overdraft that was then taken away is explained by it."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        await accounts.set_overdraft(act, account.id, 500)
    work = PaidWork(office)
    await work.admit(work.request(account, 0))
    async with office.desk.act(ANNA, "test") as act:
        await accounts.set_overdraft(act, account.id, 0)
    report = await check_ledger(office.desk, WHOLE, _silent)
    assert report.verdict == "ledger check: ok"
    assert "holds 100 nano-USD more than it has" in report.proofs[5].notices[0]


async def test_allowance_covers_what_was_admitted_without_redis(office: Office) -> None:
    """Holds beyond the balance pass up to the declared allowance of the workers, and no further."""
    account = await office.account()
    work = PaidWork(office)
    await work.admit(work.request(account, 0))
    for allowance_nanos, holds in ((100, True), (99, False)):
        ask = CheckAsk(whole=True, allowance_nanos=allowance_nanos)
        report = await check_ledger(office.desk, ask, _silent)
        assert report.proofs[5].holds is holds


async def test_conflicts_are_reported(office: Office, account: Account) -> None:
    """The same request with another content changes nothing, and the check tells of it."""
    work = PaidWork(office)
    request = work.request(account, 40)
    await work.settle(request)
    await work.settle(work.request(account, 41, reservation_id=request.reservation_id))
    report = await check_ledger(office.desk, WHOLE, _silent)
    assert report.verdict == "ledger check: ok"
    assert "1 entries came again" in report.proofs[2].notices[0]


async def test_progress_is_told_batch_by_batch(office: Office, account: Account) -> None:
    """Whoever waits hears which step is under way, and of the chain how far it is."""
    told: list[tuple[str, int, int]] = []
    report = await check_ledger(office.desk, WHOLE, lambda *step: told.append(step))
    batches = report.through_batch
    chain = [step for step in told if step[0] == "batches"]
    assert chain == [("batches", done, batches) for done in range(1, batches + 1)]
    assert {step[0] for step in told} >= {"balances and usage", "reservations"}


async def test_traffic_does_not_disturb_the_check(office: Office, account: Account) -> None:
    """Checks that run beside a settler, in snapshots of their own, find every one in order."""
    work = PaidWork(office)

    async def settle() -> None:
        for _ in range(20):
            await work.settle(work.request(account, 1))

    async def check() -> set[str]:
        reports = [await check_ledger(office.desk, CheckAsk(), _silent) for _ in range(5)]
        return {report.verdict for report in reports}

    _, verdicts = await asyncio.gather(settle(), check())
    assert verdicts == {"ledger check: ok"}


async def _above_triggers(connection: Connection, damage: str) -> None:
    """Do what only a superuser can who switches triggers and foreign keys off."""
    await connection.execute("SET LOCAL session_replication_role = replica")
    await connection.execute(damage)


def _silent(_step: str, _done: int, _total: int) -> None:
    """Nobody waits."""
