"""Reports over a real Postgres: balance, usage, statement, single requests, quarantine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest

from billing.accounts import Account
from billing.errors import InvalidInput, NotFound
from billing.pages import PageAsk
from billing.reports import Span, StatementLine, UsageBy
from billing.stores.protocol import QuarantineRow
from tests.contract.desks import ANNA, START, Office, open_office
from tests.contract.paid_work import CHARGING_ROUTE, PaidWork
from tollkeeper.operations import orders, reports

MARCH = Span(date(2026, 3, 1), date(2026, 4, 1))


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A desk over the test's own database."""
    async with open_office(database) as opened:
        yield opened


@pytest.fixture
def work(office: Office) -> PaidWork:
    """Requests of that desk's accounts."""
    return PaidWork(office)


async def test_balance_counts_what_is_held(office: Office, work: PaidWork) -> None:
    """Pending reservations are held, settled ones are posted, released ones are nothing."""
    account = await office.account(paid_nanos=1000)
    pending, settled, released = (
        work.request(account, 0),
        work.request(account, 40),
        work.unbilled(account),
    )
    await work.admit(pending, settled, released)
    await work.settle(settled, released)
    async with office.desk.view("test") as view:
        balance = await reports.balance(view, "acme")
    assert (balance.posted_nanos, balance.held_nanos, balance.available_nanos) == (960, 100, 860)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ((), [("", "", "", "", 4, 70)]),
        (
            ("day", "profile"),
            [
                ("2026-03-10", "llm", "", "", 2, 30),
                ("2026-03-11", "llm", "", "", 1, 30),
                ("2026-03-11", "rpc", "", "", 1, 10),
            ],
        ),
        (("route",), [("", "", "chat", "", 3, 60), ("", "", "eth", "", 1, 10)]),
        (("model",), [("", "", "", "", 1, 10), ("", "", "", "gpt", 3, 60)]),
    ],
)
async def test_usage_tells_apart_what_is_asked(
    office: Office, work: PaidWork, by: tuple[UsageBy, ...], expected: list[tuple[object, ...]]
) -> None:
    """Requests are summed by any combination of day, profile, route and model."""
    account = await _two_days(office, work)
    async with office.desk.view("test") as view:
        page = await reports.usage(view, account.id, MARCH, by, PageAsk())
    rows = [(u.day, u.profile, u.route, u.model, u.requests, u.price_nanos) for u in page.rows]
    assert rows == expected


async def test_usage_comes_in_pages(office: Office, work: PaidWork) -> None:
    """Pages of one row show each row once."""
    account = await _two_days(office, work)
    seen, cursor = [], None
    async with office.desk.view("test") as view:
        for _ in range(3):
            page = await reports.usage(
                view, account.id, MARCH, ("day", "profile"), PageAsk(1, cursor)
            )
            seen += [(u.day, u.profile) for u in page.rows]
            cursor = page.next_cursor
    assert seen == [("2026-03-10", "llm"), ("2026-03-11", "llm"), ("2026-03-11", "rpc")]
    assert cursor is None


async def test_usage_of_other_days_is_left_out(office: Office, work: PaidWork) -> None:
    """The last day of a span is not part of it."""
    account = await _two_days(office, work)
    first_day = Span(date(2026, 3, 10), date(2026, 3, 11))
    async with office.desk.view("test") as view:
        page = await reports.usage(view, account.id, first_day, (), PageAsk())
    assert [(u.requests, u.units, u.provider_cost_nanos) for u in page.rows] == [(2, 6, 15)]


async def test_statement_closes_with_what_its_lines_sum_to(office: Office, work: PaidWork) -> None:
    """Opening, plus each line, is the balance after it; the last one is the closing balance."""
    account = await _two_days(office, work)
    async with office.desk.act(ANNA, "test") as act:
        await orders.correct(act, account.id, -5, "fix", reason="typo")
    second_day = Span(date(2026, 3, 11), date(2026, 3, 12))
    async with office.desk.view("test") as view:
        whole = await reports.statement(view, account.id, MARCH, PageAsk())
        part = await reports.statement(view, account.id, second_day, PageAsk())
    assert (whole.opening_nanos, whole.closing_nanos) == (0, 925)
    assert [(line.kind, line.text, line.requests, line.amount_nanos) for line in whole.lines] == [
        ("topup", "first", 0, 1000),
        ("charge", "chat", 2, -30),
        ("correction", "fix", 0, -5),
        ("charge", "chat", 1, -30),
        ("charge", "eth", 1, -10),
    ]
    assert [line.balance_nanos for line in whole.lines] == [1000, 970, 965, 935, 925]
    assert (part.opening_nanos, part.closing_nanos) == (970, 925)


async def test_detailed_statement_comes_in_pages(office: Office, work: PaidWork) -> None:
    """Each request is a line of its own, and the running balance goes on over the pages."""
    account = await _two_days(office, work)
    lines: list[StatementLine] = []
    cursor = None
    async with office.desk.view("test") as view:
        for _ in range(3):
            page = await reports.statement(view, account.id, MARCH, PageAsk(2, cursor), detail=True)
            lines += page.lines
            cursor = page.next_cursor
    assert cursor is None
    assert [line.balance_nanos for line in lines] == [1000, 990, 970, 940, 930]
    assert [line.text for line in lines] == ["first", "chat gpt", "chat gpt", "chat gpt", "eth"]
    assert all(line.id for line in lines)


async def test_explanation_has_formula_price_version_and_entries(
    office: Office, work: PaidWork
) -> None:
    """A settled request is explained down to its transfers and the tariffs of its version."""
    await office.sells("llm")
    account = await office.account(paid_nanos=1000)
    request = work.request(account, 40)
    await work.admit(request)
    await work.settle(request)
    async with office.desk.view("test") as view:
        found = await reports.explain(view, request.reservation_id)
    assert found.event is not None
    assert found.reservation.state == "settled"
    assert found.event.formula == "3 units = 40 nano-USD"
    assert found.event.facts == {"units": 3}
    assert found.price_effective_from == START - timedelta(days=100)
    assert found.tariffs["flat"]["meter"] == "flat"
    assert [(entry.kind, entry.amount_nanos) for entry in found.entries] == [
        ("charge", 40),
        ("cost", 20),
    ]


async def test_late_request_is_explained_with_its_refund(office: Office, work: PaidWork) -> None:
    """What expired with a charge and came after all shows charge, refund, and its real price."""
    account = await office.account(paid_nanos=1000)
    request = work.request(account, 40, route=CHARGING_ROUTE)
    await work.admit(request)
    await work.expire()
    async with office.desk.view("test") as view:
        before = await reports.explain(view, request.reservation_id)
    await work.settle(request)
    async with office.desk.view("test") as view:
        after = await reports.explain(view, request.reservation_id)
    assert (before.reservation.state, before.event) == ("expired", None)
    assert [(entry.kind, entry.amount_nanos) for entry in before.entries] == [("expiry", 250)]
    assert after.reservation.state == "late"
    assert sorted((entry.kind, entry.amount_nanos) for entry in after.entries) == [
        ("charge", 40),
        ("cost", 20),
        ("expiry", 250),
        ("refund", 250),
    ]


async def test_conflicting_entry_is_part_of_the_explanation(office: Office, work: PaidWork) -> None:
    """The same request with another price changes nothing, and the explanation tells of it."""
    account = await office.account(paid_nanos=1000)
    request = work.request(account, 40)
    await work.settle(request)
    other = work.request(account, 50, reservation_id=request.reservation_id)
    await work.settle(other)
    async with office.desk.view("test") as view:
        found = await reports.explain(view, request.reservation_id)
    assert found.event is not None
    assert found.event.price_nanos == 40
    assert [item.reason for item in found.quarantined] == ["conflict"]


async def test_request_of_another_account_is_not_found(office: Office, work: PaidWork) -> None:
    """With an account named, only that account's requests exist."""
    mine, other = await office.account("mine"), await office.account("other", paid_nanos=100)
    request = work.request(other, 40)
    await work.settle(request)
    async with office.desk.view("test") as view:
        for wrong in (request.reservation_id, "0198c0de-0000-7000-8000-000000000000", "x"):
            with pytest.raises(NotFound):
                await reports.explain(view, wrong, mine.id)


async def test_open_reservations_are_listed(office: Office, work: PaidWork) -> None:
    """Pending and expired ones of all accounts; other states only of a named account."""
    account = await office.account(paid_nanos=1000)
    expired, settled = work.request(account, 0), work.request(account, 10)
    await work.admit(expired, settled)
    await work.settle(settled)
    await work.expire()
    pending = work.request(account, 0)
    await work.admit(pending)
    async with office.desk.view("test") as view:
        waiting = await reports.reservations(view, None, "pending", PageAsk())
        lost = await reports.reservations(view, None, "expired", PageAsk())
        every = await reports.reservations(view, account.id, None, PageAsk())
        with pytest.raises(InvalidInput, match="account"):
            await reports.reservations(view, None, "settled", PageAsk())
    assert [r.id for r in waiting.rows] == [pending.reservation_id]
    assert [(r.id, r.state) for r in lost.rows] == [(expired.reservation_id, "expired")]
    assert {r.state for r in every.rows} == {"pending", "expired", "settled"}


async def test_recent_requests_come_newest_first(office: Office, work: PaidWork) -> None:
    """Pages of settled requests go back in time."""
    account = await _two_days(office, work)
    async with office.desk.view("test") as view:
        first = await reports.requests(view, account.id, PageAsk(3))
        second = await reports.requests(view, account.id, PageAsk(3, first.next_cursor))
    assert [event.price_nanos for event in (*first.rows, *second.rows)] == [10, 30, 20, 10]


async def test_quarantine_is_listed_newest_first(office: Office, work: PaidWork) -> None:
    """What was put aside is shown with its reason and how often it came."""
    account = await office.account()
    await work.ledger.quarantine([QuarantineRow(None, None, "not_json", "{")])
    forged = QuarantineRow(account.id, None, "forged", "ticket")
    await work.ledger.quarantine([forged])
    await work.ledger.quarantine([forged])
    async with office.desk.view("test") as view:
        every = await reports.quarantine(view, None, PageAsk())
        own = await reports.quarantine(view, account.id, PageAsk())
    assert [(item.reason, item.seen) for item in every.rows] == [("forged", 2), ("not_json", 1)]
    assert [item.reason for item in own.rows] == ["forged"]


async def test_span_without_dates_ends_today(office: Office) -> None:
    """A report covers the last thirty days unless told otherwise."""
    async with office.desk.view("test") as view:
        span = reports.span_until_today(view, None, None)
    assert span == Span(date(2026, 2, 9), date(2026, 3, 11))


async def _two_days(office: Office, work: PaidWork) -> Account:
    """1000 paid in; 10 and 20 spent on the first day, 30 and 10 (another profile) on the second."""
    account = await office.account(paid_nanos=1000)
    await work.settle(work.request(account, 10), work.request(account, 20))
    office.clock.forward(timedelta(days=1))
    await work.settle(work.request(account, 30))
    eth = work.request(account, 10, route="eth", profile="rpc", model="")
    await work.settle(eth)
    return account
