"""Units of time and the windows that limits count in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.units import CALENDAR_UNITS, SECOND_US, Unit, Window, calendar_window, clock_window


def us(text: str) -> int:
    """Microseconds of an ISO date."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US


def dates(window: Window) -> tuple[str, str, str]:
    """The previous start, the start and the end of a window as dates."""
    previous, start, end = (
        datetime.fromtimestamp(at_us // SECOND_US, UTC).strftime("%Y-%m-%d")
        for at_us in (window.previous_start_us, window.start_us, window.end_us)
    )
    return previous, start, end


@pytest.mark.parametrize("unit", list(Unit))
def test_clock_windows_start_at_multiples_of_the_unit(unit: Unit) -> None:
    """As in envoyproxy/ratelimit: (now / unit) * unit, with months of 30 days and years of 365."""
    days = {Unit.DAY: 1, Unit.WEEK: 7, Unit.MONTH: 30, Unit.YEAR: 365}
    short = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600}
    seconds = short[unit] if unit in short else 86_400 * days[unit]
    now_s = 1_734_567_890
    window = clock_window(unit, now_s * SECOND_US + 999_999)
    assert window.start_us == now_s // seconds * seconds * SECOND_US
    assert window.length_us == seconds * SECOND_US
    assert window.previous_start_us == window.start_us - window.length_us


@pytest.mark.parametrize(
    ("now", "billing_day", "expected"),
    [
        ("2024-03-10T12:00:00", 1, ("2024-02-01", "2024-03-01", "2024-04-01")),
        ("2024-01-01T00:00:00", 1, ("2023-12-01", "2024-01-01", "2024-02-01")),
        ("2024-03-10T12:00:00", 15, ("2024-01-15", "2024-02-15", "2024-03-15")),
        ("2024-03-15T00:00:00", 15, ("2024-02-15", "2024-03-15", "2024-04-15")),
        ("2024-02-29T00:00:00", 31, ("2024-01-31", "2024-02-29", "2024-03-31")),
        ("2023-02-27T23:59:59", 31, ("2022-12-31", "2023-01-31", "2023-02-28")),
        ("2023-04-30T00:00:00", 31, ("2023-03-31", "2023-04-30", "2023-05-31")),
    ],
)
def test_calendar_months(now: str, billing_day: int, expected: tuple[str, str, str]) -> None:
    """From one billing day to the next; in a short month, from its last day."""
    assert dates(calendar_window(Unit.MONTH, billing_day, us(now))) == expected


def test_calendar_weeks_and_years() -> None:
    """Weeks start on Monday, years on the first of January, leap years included."""
    now_us = us("2024-02-29T13:00:00")
    assert dates(calendar_window(Unit.WEEK, 1, now_us)) == (
        "2024-02-19",
        "2024-02-26",
        "2024-03-04",
    )
    assert dates(calendar_window(Unit.YEAR, 1, now_us)) == (
        "2023-01-01",
        "2024-01-01",
        "2025-01-01",
    )


@given(
    st.sampled_from(sorted(CALENDAR_UNITS, key=str)),
    st.integers(1, 31),
    st.integers(0, 4_000_000_000_000_000),
)
def test_calendar_windows_have_no_gap(unit: Unit, billing_day: int, now_us: int) -> None:
    """Every time lies in its window, and the windows before and after meet it."""
    window = calendar_window(unit, billing_day, now_us)
    assert window.start_us <= now_us < window.end_us
    after = calendar_window(unit, billing_day, window.end_us)
    assert (after.previous_start_us, after.start_us) == (window.start_us, window.end_us)
