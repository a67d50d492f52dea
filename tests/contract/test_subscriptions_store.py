"""Subscriptions and the catalog over a real Postgres: what is for sale, and who has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from billing.accounts import Terms
from billing.errors import ConfigError, NotFound
from billing.stores.postgres_access import Connection
from billing.stores.postgres_catalog import Applied, apply_definitions
from tests.contract.desks import ANNA, START, Office, catalog_of, open_office
from tollkeeper.operations import catalog, subscriptions


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A desk over the test's own database."""
    async with open_office(database) as opened:
        yield opened


async def test_first_period_begins_with_the_subscription(office: Office) -> None:
    """The period starts now and ends on the billing day of the next month."""
    await office.sells("llm")
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        state = await subscriptions.set_subscription(
            act, account.id, "llm", Terms("pro", "active", 1000, 5, 10, billing_day=31)
        )
    assert (state.period_start, state.period) == (START, "month")
    assert state.period_end == datetime(2026, 4, 30, 12, tzinfo=UTC)
    assert (state.units_limit, state.rps_override, state.burst_override) == (1000, 5, 10)


async def test_changed_terms_leave_the_running_period(office: Office) -> None:
    """Another plan, status and billing day keep the period's bounds and what was used in it."""
    await office.sells("llm")
    account = await office.account()
    await office.subscribes(account)
    async with office.desk.act(ANNA, "test") as act:
        await act.connection.execute("UPDATE subscriptions SET units_used = 7, spent_nanos = 9")
    office.clock.forward(timedelta(days=3))
    async with office.desk.act(ANNA, "test") as act:
        changed = await subscriptions.set_subscription(
            act, account.id, "llm", Terms("trial", "past_due", billing_day=5)
        )
    assert (changed.plan, changed.status, changed.period) == ("trial", "past_due", "day")
    assert (changed.units_used, changed.spent_nanos, changed.period_start) == (7, 9, START)
    assert changed.period_end == datetime(2026, 4, 1, 12, tzinfo=UTC)


async def test_period_that_is_over_counts_as_unused(office: Office) -> None:
    """Listing after the period's end shows nothing used, setting begins the one that runs."""
    await office.sells("llm")
    account = await office.account()
    await office.subscribes(account, plan="trial")
    async with office.desk.act(ANNA, "test") as act:
        await act.connection.execute("UPDATE subscriptions SET units_used = 7, spent_nanos = 9")
    office.clock.forward(timedelta(days=2, hours=1))
    async with office.desk.view("test") as view:
        (listed,) = await subscriptions.list_subscriptions(view, account.id)
    await office.subscribes(account, plan="trial")
    async with office.desk.view("test") as view:
        (rolled,) = await subscriptions.list_subscriptions(view, account.id)
    assert (listed.units_used, rolled.units_used) == (0, 0)
    assert rolled.period_start == START + timedelta(days=2)


async def test_unknown_plan_or_profile_names_the_known_ones(office: Office) -> None:
    """The answer says what could have been meant, or that nothing was applied yet."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(NotFound, match="catalog apply"):
            await subscriptions.set_subscription(act, account.id, "llm", Terms("pro"))
    await office.sells("llm", "rpc")
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(NotFound, match="pro, trial"):
            await subscriptions.set_subscription(act, account.id, "llm", Terms("prof"))
        with pytest.raises(NotFound, match="llm, rpc"):
            await subscriptions.set_subscription(act, account.id, "lmm", Terms("pro"))


async def test_catalog_applied_twice_changes_nothing(office: Office) -> None:
    """The first application names what is new, the second nothing."""
    async with office.desk.act(ANNA, "test") as act:
        first = await _apply(act.connection, "llm")
        second = await _apply(act.connection, "llm")
    async with office.desk.view("test") as view:
        (price,) = await catalog.price_book(view)
        plans = await catalog.plans_in_force(view)
    assert first == Applied(("llm",), ("pro", "trial"), ("v1",))
    assert not second
    assert (price.version, price.in_force, price.applied_by) == ("v1", True, "file")
    assert [(plan.name, plan.definition["period"]) for plan in plans] == [
        ("pro", "month"),
        ("trial", "day"),
    ]


async def test_price_version_never_changes(office: Office) -> None:
    """The same version with other prices is refused, and the old ones stay."""
    await office.sells("llm")
    with pytest.raises(ConfigError, match="v1"):
        async with office.desk.act(ANNA, "test") as act:
            await _apply(act.connection, "llm", price=2)
    async with office.desk.view("test") as view:
        (price,) = await catalog.price_book(view)
    assert price.definition["tariffs"]["flat"]["price"] == 1


async def _apply(connection: Connection, profile: str, price: int = 1) -> Applied:
    return await apply_definitions(connection, catalog_of(profile, price=price), "file", START)
