"""Plans: what a subscription may do per second, at once, per period and per day.

A plan bounds *how much*; money is bounded by the prepaid balance in any case. ``None`` means that
the plan sets no such bound.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Period = Literal["day", "week", "month"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one plan for one profile."""

    requests_per_second: int | None = None
    burst: int | None = None
    max_in_flight: int | None = None
    units_per_period: int | None = None
    spend_per_period_nanos: int | None = None
    spend_per_day_nanos: int | None = None
    max_request_nanos: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A named set of limits; ``by_profile`` replaces ``limits`` whole for the profiles it names."""

    name: str
    period: Period
    limits: Limits
    by_profile: dict[str, Limits]

    def limits_for(self, profile: str) -> Limits:
        return self.by_profile.get(profile, self.limits)


def next_period_start(start: datetime, period: Period, billing_day: int) -> datetime:
    """The first instant of the period after the one that begins at ``start`` (UTC).

    Months end on ``billing_day`` (1 to 31), or on the last day of a shorter month.
    """
    if period == "day":
        return datetime.fromtimestamp(start.timestamp() + 86_400, UTC)
    if period == "week":
        return datetime.fromtimestamp(start.timestamp() + 7 * 86_400, UTC)
    year, month = divmod(start.year * 12 + start.month, 12)
    month += 1
    day = min(billing_day, calendar.monthrange(year, month)[1])
    return start.replace(year=year, month=month, day=day)
