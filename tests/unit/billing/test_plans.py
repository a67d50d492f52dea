"""Plans: whose limits apply, and when a period ends."""

import calendar
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.plans import Limits, Period, Plan, next_period_start

DAYS = st.integers(1, 31)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant in UTC."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_a_profile_of_its_own_replaces_the_limits_whole() -> None:
    """What the profile leaves out is unlimited, not taken from the plan."""
    plan = Plan("pro", "month", Limits(requests_per_second=50, burst=100), {"rpc": Limits(burst=7)})
    assert plan.limits_for("rpc") == Limits(requests_per_second=None, burst=7)
    assert plan.limits_for("llm") == Limits(requests_per_second=50, burst=100)


@pytest.mark.parametrize(
    ("start", "period", "billing_day", "end"),
    [
        (utc(2026, 2, 28, 23, 59), "day", 1, utc(2026, 3, 1, 23, 59)),
        (utc(2026, 12, 31), "day", 1, utc(2027, 1, 1)),
        (utc(2026, 12, 28, 6), "week", 1, utc(2027, 1, 4, 6)),
        (utc(2026, 1, 15, 6, 30), "month", 15, utc(2026, 2, 15, 6, 30)),
        (utc(2026, 1, 31), "month", 31, utc(2026, 2, 28)),
        (utc(2026, 2, 28), "month", 31, utc(2026, 3, 31)),
        (utc(2028, 1, 31), "month", 31, utc(2028, 2, 29)),
        (utc(2028, 2, 29), "month", 30, utc(2028, 3, 30)),
        (utc(2026, 3, 31), "month", 31, utc(2026, 4, 30)),
        (utc(2026, 11, 1), "month", 1, utc(2026, 12, 1)),
        (utc(2026, 12, 1), "month", 1, utc(2027, 1, 1)),
    ],
)
def test_a_period_ends_where_the_calendar_says(
    start: datetime, period: Period, billing_day: int, end: datetime
) -> None:
    """Short months end early and do not pull the billing day down for the months after."""
    assert next_period_start(start, period, billing_day) == end


@given(year=st.integers(2000, 2199), month=st.integers(1, 12), day=DAYS)
def test_a_billing_day_is_kept_through_the_months(year: int, month: int, day: int) -> None:
    """Twelve periods on, the same month and day a year later, each step a month and in order."""
    last = calendar.monthrange(year, month)[1]
    starts = [utc(year, month, min(day, last))]
    for _ in range(12):
        starts.append(next_period_start(starts[-1], "month", day))
    steps = [after - before for before, after in pairwise(starts)]
    assert all(timedelta(days=28) <= step <= timedelta(days=31) for step in steps)
    assert [start.month for start in starts] == [(month - 1 + n) % 12 + 1 for n in range(13)]
    year_later = calendar.monthrange(year + 1, month)[1]
    assert starts[-1] == utc(year + 1, month, min(day, year_later))


@given(start=st.integers(946_684_800, 7_258_118_400).map(lambda s: datetime.fromtimestamp(s, UTC)))
def test_days_and_weeks_have_one_length(start: datetime) -> None:
    """24 hours and 7 times 24, whatever the billing day."""
    assert next_period_start(start, "day", 31) - start == timedelta(days=1)
    assert next_period_start(start, "week", 31) - start == timedelta(days=7)
