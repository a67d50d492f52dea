"""The period that a moment lies in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.plans import Period, next_period_start
from extauthz.period import current_period, day_start_s
from tests.unit.extauthz.front_door import subscribe


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("start", "end", "now", "expected"),
    [
        ("2027-01-10", "2027-02-10", "2027-01-20", ("2027-01-10", "2027-02-10")),
        ("2027-01-10", "2027-02-10", "2027-02-10", ("2027-02-10", "2027-03-10")),
        ("2027-01-10", "2027-02-10", "2027-12-09", ("2027-11-10", "2027-12-10")),
        ("2027-01-10", "2027-02-10", "2026-12-01", ("2027-01-10", "2027-02-10")),
        ("2027-01-31", "2027-02-28", "2027-03-01", ("2027-02-28", "2027-03-31")),
        ("2027-02-28", "2027-03-31", "2027-05-01", ("2027-04-30", "2027-05-31")),
        ("2028-01-30", "2028-02-29", "2028-03-29", ("2028-02-29", "2028-03-30")),
        ("2026-11-20", "2026-12-01", "2027-01-15", ("2027-01-01", "2027-02-01")),
    ],
)
def test_months_follow_each_other(start: str, end: str, now: str, expected: list[str]) -> None:
    """Also over short months, a first period that was cut short, and many that nobody rolled."""
    subscription = subscribe("llm", period_start_s=instant(start), period_end_s=instant(end))
    found = current_period(subscription, "month", instant(now))
    assert found == tuple(instant(text) for text in expected)


@given(
    period=st.sampled_from(["day", "week", "month"]),
    start=st.integers(instant("2020-01-01"), instant("2030-01-01")),
    later=st.timedeltas(timedelta(0), timedelta(days=1500)),
)
def test_the_period_is_the_one_that_rolling_step_by_step_comes_to(
    period: Period, start: int, later: timedelta
) -> None:
    """Jumping over periods and taking them one by one agree, and the moment lies within."""
    first = datetime.fromtimestamp(start, UTC)
    billing_day, now_s = first.day, (first + later).timestamp()
    second = next_period_start(first, period, billing_day)
    subscription = subscribe(
        "llm", period_start_s=int(first.timestamp()), period_end_s=int(second.timestamp())
    )
    found = current_period(subscription, period, now_s)
    while second.timestamp() <= now_s:
        first, second = second, next_period_start(second, period, billing_day)
    assert found == (int(first.timestamp()), int(second.timestamp()))
    assert found[0] <= now_s < found[1]


def test_a_day_begins_at_midnight_utc() -> None:
    """The window of daily caps is the UTC day."""
    assert day_start_s(instant("2027-03-05") + 86_399.9) == instant("2027-03-05")
