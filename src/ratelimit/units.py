"""Units of time, and the windows that a limit counts in. All times are microseconds since 1970,
UTC.

By default windows line up with the clock as envoyproxy/ratelimit's do: a window starts where the
time since 1970 is a multiple of the unit, a month being 30 days and a year 365. A *calendar*
window starts on a Monday, on the first of a month or on New Year's Day, or on a billing day of
each month."""

from __future__ import annotations

import calendar as days
import enum
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

SECOND_US = 1_000_000


class Unit(enum.Enum):
    """The unit of a limit; the value is its name in files of rules, in lower case."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def length_us(self) -> int:
        """The length of a window that is no calendar window."""
        return _LENGTH_US[self]


_LENGTH_US = {
    Unit.SECOND: SECOND_US,
    Unit.MINUTE: 60 * SECOND_US,
    Unit.HOUR: 3_600 * SECOND_US,
    Unit.DAY: 86_400 * SECOND_US,
    Unit.WEEK: 7 * 86_400 * SECOND_US,
    Unit.MONTH: 30 * 86_400 * SECOND_US,
    Unit.YEAR: 365 * 86_400 * SECOND_US,
}
CALENDAR_UNITS = frozenset({Unit.WEEK, Unit.MONTH, Unit.YEAR})


class Window(NamedTuple):
    """From ``start_us`` until just before ``end_us``, after the one from ``previous_start_us``."""

    start_us: int
    end_us: int
    previous_start_us: int

    @property
    def length_us(self) -> int:
        return self.end_us - self.start_us


def clock_window(unit: Unit, now_us: int) -> Window:
    """The window of ``now_us`` that lines up with multiples of the unit since 1970."""
    length_us = _LENGTH_US[unit]
    start_us = now_us - now_us % length_us
    return Window(start_us, start_us + length_us, start_us - length_us)


def calendar_window(unit: Unit, billing_day: int, now_us: int) -> Window:
    """The calendar week, month or year of ``now_us``.

    A month runs from one ``billing_day`` to the next; in a month that is too short for it, from its
    last day. For weeks and years the billing day is not looked at.
    """
    today = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)).date()
    if unit is Unit.WEEK:
        start = today - timedelta(days=today.weekday())
        return _between(start - timedelta(days=7), start, start + timedelta(days=7))
    if unit is Unit.YEAR:
        first = date(today.year, 1, 1)
        return _between(date(today.year - 1, 1, 1), first, date(today.year + 1, 1, 1))
    month = today.year * 12 + today.month - 1
    if today < _billing_date(month, billing_day):
        month -= 1
    before, start, after = (_billing_date(month + step, billing_day) for step in (-1, 0, 1))
    return _between(before, start, after)


def _billing_date(month: int, billing_day: int) -> date:
    year, index = divmod(month, 12)
    last = days.monthrange(year, index + 1)[1]
    return date(year, index + 1, min(billing_day, last))


def _between(previous: date, start: date, end: date) -> Window:
    return Window(_midnight_us(start), _midnight_us(end), _midnight_us(previous))


def _midnight_us(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400 * SECOND_US
