"""One suite for every ledger (memory, Postgres): what was used, by day and by period."""

import pytest

from billing.plans import Period
from billing.subscriptions import Subscription
from tests.contract.ledger_bench import (
    AFTER_US,
    CHARGING_ROUTE,
    NOW_S,
    NOW_US,
    TODAY_S,
    A,
    B,
    LedgerBench,
    journal_row,
    released,
    settlement,
    used_of,
)

HOUR_S, DAY_S = 3600, 86_400
pytestmark = pytest.mark.usefixtures("paid_accounts")


async def subscribe(
    ledger: LedgerBench,
    start_s: int,
    end_s: int,
    profile: str = "llm",
    period: Period = "day",
) -> None:
    """Subscribe account A to a profile for a running period."""
    subscription = Subscription(profile, "pro", "active", None, None, None, start_s, end_s)
    await ledger.subscribe(A, subscription, period, billing_day=1)


async def used(ledger: LedgerBench, now_s: float = NOW_S) -> dict[str, tuple[int, int]]:
    """What the truth says is used of account A."""
    return used_of((await ledger.truth.truth([A], now_s))[A])


async def test_usage_is_counted_on_the_day_of_admission(ledger: LedgerBench) -> None:
    """A request admitted before midnight belongs to that day, whenever it is settled."""
    midnight_us = TODAY_S * 1_000_000
    await ledger.store.settle(
        [
            settlement(1, 10, admitted_us=midnight_us - 1, provider_cost_nanos=4),
            settlement(2, 20, admitted_us=midnight_us, provider_cost_nanos=5),
            settlement(3, 30, admitted_us=midnight_us + 7, units=4),
            settlement(4, 40, admitted_us=midnight_us + 7, profile="rpc"),
            released(5),
        ],
        NOW_US,
    )
    again = [settlement(6, 1, account_id=B), settlement(1, 10), settlement(7, 3, units=1)]
    await ledger.store.settle(again, NOW_US)
    assert await ledger.daily() == {
        (A, TODAY_S - DAY_S, "llm"): (1, 3, 10, 4),
        (A, TODAY_S, "llm"): (3, 8, 53, 5),
        (A, TODAY_S, "rpc"): (1, 3, 40, 0),
        (B, TODAY_S, "llm"): (1, 3, 1, 0),
    }


async def test_the_day_budget_is_that_of_today(ledger: LedgerBench) -> None:
    """What was spent today is told to the hot copy; yesterday's is told no longer."""
    yesterday_us = (TODAY_S - 1) * 1_000_000
    first = await ledger.store.settle([settlement(1, 10, admitted_us=yesterday_us)], NOW_US)
    assert used_of(first.publications[0]) == {}
    batch = await ledger.store.settle([settlement(2, 20), settlement(3, 1)], NOW_US)
    assert used_of(batch.publications[0])["day:llm"] == (TODAY_S, 21)
    assert await used(ledger) == {"day:llm": (TODAY_S, 21)}
    assert await used(ledger, TODAY_S + DAY_S) == {}


async def test_usage_of_the_running_period(ledger: LedgerBench) -> None:
    """Units and money of a subscription's profile count from the start of its period."""
    await subscribe(ledger, NOW_S - HOUR_S, NOW_S + HOUR_S)
    start_us = (NOW_S - HOUR_S) * 1_000_000
    batch = await ledger.store.settle(
        [
            settlement(1, 10, admitted_us=start_us),
            settlement(2, 20, units=5),
            settlement(3, 99, admitted_us=start_us - 1),
            settlement(4, 99, profile="rpc"),
            released(5),
        ],
        NOW_US,
    )
    expected = {"units:llm": (NOW_S - HOUR_S, 8), "period:llm": (NOW_S - HOUR_S, 30)}
    assert used_of(batch.publications[0]).items() >= expected.items()
    assert (await used(ledger)).items() >= expected.items()
    again = await ledger.store.settle([settlement(6, 1, units=1)], NOW_US)
    assert used_of(again.publications[0])["units:llm"] == (NOW_S - HOUR_S, 9)


async def test_a_period_that_is_over_starts_anew(ledger: LedgerBench) -> None:
    """After the turn a period counts from zero, and latecomers of the old do not reach it."""
    end_s = NOW_S - 10
    await subscribe(ledger, end_s - DAY_S, end_s)
    early = settlement(1, 10, admitted_us=(end_s - 1) * 1_000_000)
    await ledger.store.settle([early], (end_s - 1) * 1_000_000)
    assert (await used(ledger, end_s - 1))["units:llm"] == (end_s - DAY_S, 3)
    batch = await ledger.store.settle(
        [
            settlement(2, 20, admitted_us=(end_s - 1) * 1_000_000),
            settlement(3, 30, admitted_us=end_s * 1_000_000),
        ],
        NOW_US,
    )
    said = used_of(batch.publications[0])
    assert said["units:llm"] == (end_s, 3)
    assert said["period:llm"] == (end_s, 30)
    assert (await used(ledger))["period:llm"] == (end_s, 30)


async def test_a_period_turns_over_many_at_once(ledger: LedgerBench) -> None:
    """An account that was quiet for three periods is in the right one at once."""
    end_s = NOW_S - 3 * DAY_S - 5
    await subscribe(ledger, end_s - DAY_S, end_s)
    batch = await ledger.store.settle([settlement(1, 10)], NOW_US)
    assert used_of(batch.publications[0])["units:llm"] == (end_s + 3 * DAY_S, 3)


async def test_each_profile_has_its_own_period(ledger: LedgerBench) -> None:
    """Usage of one profile does not touch the quota of another."""
    await subscribe(ledger, NOW_S - HOUR_S, NOW_S + HOUR_S, "llm")
    await subscribe(ledger, NOW_S - 2 * HOUR_S, NOW_S + HOUR_S, "rpc", "month")
    batch = await ledger.store.settle(
        [settlement(1, 10), settlement(2, 20, profile="rpc", units=7)], NOW_US
    )
    said = used_of(batch.publications[0])
    assert (said["units:llm"], said["units:rpc"]) == ((NOW_S - HOUR_S, 3), (NOW_S - 2 * HOUR_S, 7))
    assert (said["period:llm"][1], said["period:rpc"][1]) == (10, 20)


async def test_an_expiry_charge_is_no_usage(ledger: LedgerBench) -> None:
    """What is charged because no entry came is money and not usage, until the entry comes."""
    await subscribe(ledger, NOW_S - HOUR_S, NOW_S + HOUR_S)
    await ledger.journal.record([journal_row(settlement(1, route=CHARGING_ROUTE))])
    await ledger.store.expire(AFTER_US, 10)
    assert (await ledger.daily(), await ledger.events(), await used(ledger)) == ({}, [], {})
    await ledger.store.settle([settlement(1, 60, route=CHARGING_ROUTE)], AFTER_US)
    assert (await used(ledger))["period:llm"] == (NOW_S - HOUR_S, 60)
