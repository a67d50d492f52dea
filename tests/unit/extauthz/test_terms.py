"""What one key may do on one route."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog import Catalog, Route
from billing.meters.values import Quote
from billing.plans import Limits, Plan
from billing.refusals import Refusal
from billing.reservations import BUDGET_KINDS, MAX_COUNTED, Budget
from extauthz.period import DAY_S
from extauthz.terms import NEVER_S, Terms, agree, judge_access
from tests.unit.extauthz.front_door import (
    CREDIT,
    NOW_S,
    ROUTES,
    make_catalog,
    make_principal,
    subscribe,
)

PING = next(route for route in ROUTES if route.name == "ping")
ACCOUNT = next(route for route in ROUTES if route.name == "account")
QUOTE = Quote(10, 20, 30, 1, 2, 3, {})
ALL = Limits(
    requests_per_second=5,
    burst=9,
    max_in_flight=4,
    units_per_period=100,
    spend_per_period_nanos=2000,
    spend_per_day_nanos=1000,
    max_request_nanos=500,
)


def terms(
    limits: Limits = ALL, route: Route = PING, catalog: Catalog | None = None, **changes: Any
) -> Terms:
    principal = make_principal(1, "bounded")
    subscriptions = {"llm": subscribe("llm", "bounded", **changes)}
    agreed = agree(
        catalog or make_catalog(limits=limits),
        3,
        route,
        replace(principal, subscriptions=subscriptions),
        NOW_S,
    )
    assert isinstance(agreed, Terms)
    return agreed


def test_every_bound_of_the_plan_becomes_a_budget() -> None:
    """Units and spend of the period, spend of the day, requests in flight: each in its window."""
    hold = terms().hold("r", QUOTE, NOW_S + 5.5)
    start_s, day_s = NOW_S - DAY_S, NOW_S // DAY_S * DAY_S
    assert hold.budgets == (
        Budget("units:llm", start_s, 100, 3),
        Budget("period:llm", start_s, 2000, 30),
        Budget("day:llm", day_s, 1000, 30),
        Budget("flight:llm", 0, 4, 1),
    )
    assert {budget.name.split(":")[0] for budget in hold.budgets} == set(BUDGET_KINDS)
    assert (hold.amount_nanos, hold.expires_s) == (30, NOW_S + 5 + PING.lifetime_s)
    assert hold.account_id == make_principal(1).account_id


def test_a_plan_without_bounds_holds_credits_alone() -> None:
    """Prepaid credits are the only budget then."""
    hold = terms(Limits()).hold("r", QUOTE, NOW_S)
    assert (hold.budgets, hold.amount_nanos) == ((), 30)


def test_the_subscription_overrides_the_plan() -> None:
    """Units, rate and burst of the subscription win where they are set, zero included."""
    found = terms(units_limit=0, rps=7, burst=8)
    assert (found.units_limit, found.requests_per_second, found.burst) == (0, 7, 8)
    planned = terms()
    assert (planned.units_limit, planned.requests_per_second, planned.burst) == (100, 5, 9)


def test_limits_of_a_profile_replace_those_of_the_plan() -> None:
    """A plan may say something else for one profile."""
    catalog = make_catalog()
    plan = Plan("bounded", "month", ALL, {"llm": Limits(max_in_flight=1)})
    catalog = replace(catalog, plans={"bounded": plan})
    found = terms(catalog=catalog)
    assert (found.flight_limit, found.units_limit) == (1, None)


def test_windows_end_with_their_period() -> None:
    """A day at midnight, a period with the subscription's, requests in flight never."""
    found = terms()
    assert found.resets_s("day", NOW_S) == (NOW_S // DAY_S + 1) * DAY_S
    assert found.resets_s("units", NOW_S) == found.period_end_s == NOW_S + 29 * DAY_S
    assert found.resets_s("flight", NOW_S) is None


@pytest.mark.parametrize(
    ("most_nanos", "refused"), [(500, False), (501, True), (MAX_COUNTED + 1, True)]
)
def test_one_request_may_cost_so_much(most_nanos: int, refused: bool) -> None:
    """The cap goes by the most that a request may cost, whatever is held for it."""
    quote = Quote(10, 20, most_nanos, 1, 2, 3, {})
    found = terms(route=replace(PING, hold="min")).too_expensive(quote)
    assert (found is not None) == refused
    if found is not None:
        assert found.kind.code == "request_too_expensive"
        assert found.numbers == {"needed_nanos": most_nanos, "limit_nanos": 500}


def test_a_cap_of_nothing_is_a_cap() -> None:
    """Zero is a bound, not the lack of one."""
    assert terms(Limits(max_request_nanos=0)).too_expensive(QUOTE) is not None
    assert terms(Limits()).too_expensive(QUOTE) is None


@given(
    nanos=st.integers(0, 2**62),
    units=st.integers(0, 2**62),
    limit=st.integers(0, 2**62),
)
def test_whatever_is_not_too_expensive_can_be_held(nanos: int, units: int, limit: int) -> None:
    """Nothing that passes the cap breaks the bounds of a hold."""
    limits = Limits(units_per_period=limit, spend_per_day_nanos=limit)
    found, quote = terms(limits), Quote(0, 0, nanos, 0, 0, units, {})
    if found.too_expensive(quote) is None:
        hold = found.hold("r", quote, NOW_S)
        assert hold.amount_nanos == nanos <= MAX_COUNTED
        assert all(budget.limit <= MAX_COUNTED for budget in hold.budgets)
    else:
        assert max(nanos, units) > MAX_COUNTED


def test_a_plan_that_is_gone_is_no_subscription() -> None:
    """The reason names the plan."""
    found = agree(make_catalog(), 0, PING, make_principal(1, "withdrawn"), NOW_S)
    assert isinstance(found, Refusal)
    assert found.kind.code == "no_subscription"
    assert "withdrawn" in found.reason


def test_a_route_that_charges_nothing_has_terms_without_end() -> None:
    """Who is calling is all that matters there."""
    found = agree(make_catalog(), 0, ACCOUNT, make_principal(1), NOW_S)
    assert isinstance(found, Terms)
    assert (found.plan, found.period_end_s) == ("", NEVER_S)


def test_access_without_a_charge_needs_the_scope_alone() -> None:
    """A cancelled subscription does not lock a customer out of their own account."""
    cancelled = replace(
        make_principal(1), subscriptions={"llm": subscribe("llm", status="cancelled")}
    )
    assert judge_access(cancelled, ACCOUNT) is None
    refused = judge_access(cancelled, PING)
    assert refused is not None
    assert refused.kind.code == "subscription_cancelled"
    narrow = replace(cancelled, scopes=frozenset({"chat"}))
    refused = judge_access(narrow, ACCOUNT)
    assert refused is not None
    assert refused.kind.code == "key_not_allowed"


def test_what_is_cheap_costs_what_it_costs() -> None:
    """The amounts of this file are small on purpose: a credit is far above them."""
    assert QUOTE.max_nanos < CREDIT


def test_what_may_come_from_one_lease() -> None:
    """Another amount shares it; another end of life, bound, window or rate does not."""
    pool = terms().hold("r", QUOTE, NOW_S).pool
    assert terms().hold("s", Quote(1, 2, 3, 1, 1, 1, {}), NOW_S).pool == pool
    longer = replace(PING, lifetime_s=PING.lifetime_s + 1)
    wider = replace(ALL, max_in_flight=5)
    others = [
        terms(route=longer).hold("r", QUOTE, NOW_S),
        terms(limits=wider).hold("r", QUOTE, NOW_S),
        terms().hold("r", QUOTE, NOW_S + DAY_S),
        terms(route=replace(PING, inline_ratelimit=True)).hold("r", QUOTE, NOW_S),
    ]
    assert len({pool, *(hold.pool for hold in others)}) == 5
