"""Which period of a subscription a moment lies in."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

from billing.plans import Period, next_period_start
from billing.subscriptions import Subscription

DAY_S = 86_400
_FIXED_S = {"day": DAY_S, "week": 7 * DAY_S}


def current_period(subscription: Subscription, period: Period, now_s: float) -> tuple[int, int]:
    """Start and end, in Unix seconds, of the period that ``now_s`` lies in.

    The subscription may not have been rolled yet: periods follow each other without a gap from the
    one that it names. Before that one, it is that one.
    """
    start_s, end_s = subscription.period_start_s, subscription.period_end_s
    length_s = _FIXED_S.get(period)
    if length_s is not None and now_s >= end_s:
        start_s = end_s + (int(now_s) - end_s) // length_s * length_s
        return start_s, start_s + length_s
    billing_day = _billing_day(start_s, end_s)
    while end_s <= now_s:
        following = next_period_start(datetime.fromtimestamp(end_s, UTC), period, billing_day)
        start_s, end_s = end_s, int(following.timestamp())
    return start_s, end_s


def day_start_s(now_s: float) -> int:
    """The first second of the UTC day, the window of daily caps."""
    return int(now_s) // DAY_S * DAY_S


def _billing_day(start_s: int, end_s: int) -> int:
    """The day of the month on which periods end: a short month ends them on its last day."""
    start, end = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)
    if end.day == calendar.monthrange(end.year, end.month)[1]:
        return max(start.day, end.day)
    return end.day
