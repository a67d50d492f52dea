"""What a client is told when a budget is short."""

from __future__ import annotations

import pytest

from billing.catalog import Route
from billing.refusals import KINDS
from billing.reservations import BUDGET_KINDS, CREDITS, Budget, Hold, Short, Undecided
from extauthz.period import DAY_S
from extauthz.shortage import explain
from extauthz.terms import Terms
from tests.unit.extauthz.front_door import CREDIT, NOW_S

TERMS = Terms(0, Route("r", "u", "llm", "flat", "t"), "a", "k", period_end_s=NOW_S + 100)
HOLD = Hold(
    "r",
    "a",
    3 * CREDIT,
    NOW_S + 600,
    (
        Budget("units:llm", 0, 10, 4),
        Budget("period:llm", 0, 5 * CREDIT, 3 * CREDIT),
        Budget("day:llm", 0, 2 * CREDIT, 3 * CREDIT),
        Budget("flight:llm", 0, 6, 1),
    ),
)


def test_credits_name_what_is_there_and_what_is_needed() -> None:
    """Waiting does not help against an empty account."""
    refusal = explain(Short(CREDITS, CREDIT, 3 * CREDIT), HOLD, TERMS, NOW_S)
    assert refusal.kind.code == "insufficient_credits"
    assert refusal.numbers == {"available_nanos": CREDIT, "needed_nanos": 3 * CREDIT}
    assert refusal.retry_after_s is None


@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_each_kind_of_budget_leads_to_its_refusal(kind: str) -> None:
    """The table of reservations decides the code."""
    budget = next(b for b in HOLD.budgets if b.name == f"{kind}:llm")
    refusal = explain(Short(budget.name, 0, budget.limit), HOLD, TERMS, NOW_S)
    assert refusal.kind is KINDS[BUDGET_KINDS[kind]]
    assert refusal.reason


def test_a_quota_of_units_names_its_numbers_and_its_reset() -> None:
    """What is left, what is needed, and when the period ends."""
    refusal = explain(Short("units:llm", 2, 10), HOLD, TERMS, NOW_S + 0.5)
    assert refusal.numbers == {
        "limit_units": 10,
        "left_units": 2,
        "needed_units": 4,
        "resets_at_s": NOW_S + 100,
    }
    assert refusal.retry_after_s == 100


def test_a_cap_that_the_request_alone_exceeds_knows_no_waiting() -> None:
    """A request above the whole cap of a day is refused tomorrow as well."""
    refusal = explain(Short("day:llm", 2 * CREDIT, 2 * CREDIT), HOLD, TERMS, NOW_S)
    assert refusal.retry_after_s is None
    assert refusal.numbers["resets_at_s"] == (NOW_S // DAY_S + 1) * DAY_S


def test_a_reset_in_this_second_is_still_a_second_away() -> None:
    """Retry-After never says now."""
    refusal = explain(Short("period:llm", 0, 5 * CREDIT), HOLD, TERMS, NOW_S + 100.7)
    assert refusal.retry_after_s == 1


def test_requests_in_flight_end_soon() -> None:
    """Waiting a moment helps."""
    refusal = explain(Short("flight:llm", 0, 6), HOLD, TERMS, NOW_S)
    assert (refusal.numbers, refusal.retry_after_s) == ({"limit": 6}, 1)


def test_what_is_undecided_tells_nothing_of_the_inside() -> None:
    """The reason of the reserver is for logs, not for clients."""
    refusal = explain(Undecided("redis at 10.0.0.7 refused"), HOLD, TERMS, NOW_S)
    assert refusal.kind.code == "authorization_unavailable"
    assert "10.0.0.7" not in refusal.reason
    assert refusal.retry_after_s == 1
