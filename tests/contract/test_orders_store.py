"""Top-ups, corrections and overdrafts over a real Postgres: money that a person moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from billing.accounts import Account
from billing.errors import Conflict, InvalidInput
from billing.money import MAX_NANOS, NANOS_PER_USD
from billing.pages import PageAsk
from tests.contract.desks import ANNA, Office, heard, open_office
from tollkeeper.operations import accounts, orders, reports

USD = NANOS_PER_USD


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A desk over the test's own database."""
    async with open_office(database) as opened:
        yield opened


async def test_topup_is_posted_once_per_reference(office: Office) -> None:
    """A repeated reference changes nothing and says so; with another amount it is a conflict."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        first = await orders.topup(act, account.id, 25 * USD, "invoice 1")
    async with office.desk.act(ANNA, "test") as act:
        again = await orders.topup(act, account.id, 25 * USD, "invoice 1")
        with pytest.raises(Conflict, match="invoice 1"):
            await orders.topup(act, account.id, 26 * USD, "invoice 1")
        with pytest.raises(Conflict, match="invoice 1"):
            await orders.correct(act, account.id, 25 * USD, "invoice 1", reason="x")
    assert (first.repeated, again.repeated) == (False, True)
    assert (first.id, first.posted_nanos) == (again.id, again.posted_nanos)
    assert await _posted(office, account) == 25 * USD


async def test_topups_at_the_same_time_are_posted_once(office: Office) -> None:
    """Of eight who top up under one reference at the same time, one posts and seven repeat."""
    account = await office.account()

    async def top_up() -> bool:
        async with office.desk.act(ANNA, "test") as act:
            return (await orders.topup(act, account.id, 7, "same")).repeated

    assert sorted(await asyncio.gather(*(top_up() for _ in range(8)))) == [False] + [True] * 7
    assert await _posted(office, account) == 7


async def test_reference_belongs_to_its_account(office: Office) -> None:
    """Two accounts may use the same reference."""
    one, two = await office.account("one"), await office.account("two")
    async with office.desk.act(ANNA, "test") as act:
        for account in (one, two):
            assert not (await orders.topup(act, account.id, 5, "same")).repeated
    assert (await _posted(office, one), await _posted(office, two)) == (5, 5)


async def test_topup_tells_the_new_balance_when_it_is_committed(
    office: Office, database: str
) -> None:
    """Listeners hear of the balance, and an act that fails tells nothing."""
    account = await office.account()
    async with heard(database) as news:
        with pytest.raises(RuntimeError):
            await _top_up_and_fail(office, account)
        async with office.desk.act(ANNA, "test") as act:
            await orders.topup(act, account.id, 5, "kept")
        assert await news.get() == f"balance {account.id}"
        assert news.empty()
    assert await _posted(office, account) == 5


async def test_correction_goes_either_way(office: Office) -> None:
    """A correction above zero gives credits, one below takes them, each a row above zero."""
    account = await office.account(paid_nanos=100)
    async with office.desk.act(ANNA, "test") as act:
        await orders.correct(act, account.id, 30, "goodwill", reason="outage")
        await orders.correct(act, account.id, -250, "chargeback", reason="fraud", against="cash")
    async with office.desk.view("test") as view:
        page = await reports.ledger_entries(view, account.id, PageAsk())
    assert await _posted(office, account) == -120
    assert [(e.kind, e.debit_code, e.credit_code, e.amount_nanos) for e in page.rows] == [
        ("topup", "cash", "credits", 100),
        ("correction", "revenue", "credits", 30),
        ("correction", "credits", "cash", 250),
    ]


@pytest.mark.parametrize("amount", [0, -1, MAX_NANOS + 1])
async def test_absurd_topup_is_refused(office: Office, amount: int) -> None:
    """Nothing, less than nothing and more than the ledger can hold are bad input."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(InvalidInput, match="amount"):
            await orders.topup(act, account.id, amount, "r")


async def test_turnover_stays_within_the_ledger(office: Office) -> None:
    """A top-up that would take the sum of all top-ups beyond the ledger's bound is refused."""
    account = await office.account(paid_nanos=MAX_NANOS)
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(InvalidInput, match="turnover"):
            await orders.topup(act, account.id, 1, "more")
    assert await _posted(office, account) == MAX_NANOS


async def test_overdraft_is_a_new_version_of_the_balance(office: Office, database: str) -> None:
    """A changed overdraft raises the version that the hot copy goes by, and tells of it."""
    account = await office.account(paid_nanos=3)
    async with heard(database) as news:
        async with office.desk.act(ANNA, "test") as act:
            changed = await accounts.set_overdraft(act, account.id, 40)
        told = [await news.get(), await news.get()]
    async with office.desk.view("test") as view:
        balance = await reports.balance(view, account.id)
        version = await view.connection.fetchval(
            "SELECT version FROM ledger_accounts WHERE account_id = $1", account.id
        )
    assert (changed.overdraft_nanos, balance.available_nanos, version) == (40, 43, 2)
    assert told == [f"account {account.id}", f"balance {account.id}"]


async def _top_up_and_fail(office: Office, account: Account) -> None:
    async with office.desk.act(ANNA, "test") as act:
        await orders.topup(act, account.id, 5, "lost")
        raise RuntimeError


async def _posted(office: Office, account: Account) -> int:
    async with office.desk.view("test") as view:
        return (await reports.balance(view, account.id)).posted_nanos
