"""What follows from the statuses of a request."""

from __future__ import annotations

import pytest

from ratelimit.decision import NO_LIMIT, UNLIMITED, Decision, Status, concluded
from ratelimit.limits import Limit
from ratelimit.units import Unit

OK = Status(over=False)
OVER = Status(over=True)
QUOTA_OK = Status(over=False, quota=True)
QUOTA_OVER = Status(over=True, quota=True)


@pytest.mark.parametrize(
    ("statuses", "over"),
    [
        ([OK], False),
        ([OVER], True),
        ([OK, OVER], True),
        ([QUOTA_OVER], True),
        ([QUOTA_OVER, QUOTA_OK], False),
        ([QUOTA_OVER, QUOTA_OVER], True),
        ([QUOTA_OVER, OK], True),
        ([QUOTA_OK, OVER], True),
        ([NO_LIMIT, UNLIMITED], False),
    ],
)
def test_the_overall_code(statuses: list[Status], over: bool) -> None:
    """Over when any limit is, or when every quota is used up."""
    assert concluded(statuses) == over


def status(remaining: int, *, over: bool = False, quota: bool = False) -> Status:
    """A status with a limit of 100 per day."""
    return Status(over, Limit(100, Unit.DAY), "", remaining, 0, quota)


def test_headers_show_the_limit_that_is_nearest() -> None:
    """The least remaining; the last one that refused; never one without a limit."""
    assert Decision(False, [NO_LIMIT, UNLIMITED]).nearest is None
    few, many = status(3), status(50)
    assert Decision(False, [many, NO_LIMIT, few, status(3)]).nearest is few
    first, last = status(0, over=True), status(0, over=True)
    assert Decision(True, [first, few, last, many]).nearest is last
    used_up = status(0, over=True, quota=True)
    assert Decision(False, [many, used_up, few]).nearest is used_up


def test_seconds_until_reset_are_rounded_up() -> None:
    """Nobody who waits as long as told comes too early."""
    for until_us, seconds in ((0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)):
        assert Status(until_reset_us=until_us).reset_s == seconds
