"""How often: requests per second with a burst, counted in the same step that holds credits.

The generic cell rate algorithm keeps one number for an account and a profile: the time at which a
bucket that is emptied by requests and filled at an even rate would be full again. A request moves
it by one interval; it is refused when that would lie further ahead than the burst allows. The
number is a working value and no truth: it is lost with the hot copy, and bursts begin anew.
"""

from __future__ import annotations

from typing import NamedTuple

US_PER_S = 1_000_000
RATE_KIND = "rate"
"""Names a rate as a short budget, ``rate:PROFILE``."""


class Rate(NamedTuple):
    """One request's turn. ``interval_us`` is between two requests at the even rate, ``burst`` how
    many may come at once, ``now_us`` Unix time."""

    name: str
    interval_us: int
    burst: int
    now_us: int


class RateLeft(NamedTuple):
    """After an admitted request: how many more may come now, and when the whole burst is back."""

    requests: int
    full_after_us: int


class Turn(NamedTuple):
    """``wait_us`` above 0 refuses; ``full_us`` is what is kept when the request is admitted."""

    wait_us: int
    full_us: int
    left: RateLeft


def take_turn(full_us: int, rate: Rate) -> Turn:
    """Judge a request against what is kept (0 for nothing yet)."""
    after_us = max(full_us, rate.now_us) + rate.interval_us
    wait_us = after_us - rate.burst * rate.interval_us - rate.now_us
    left = RateLeft(max(0, -wait_us // rate.interval_us), after_us - rate.now_us)
    return Turn(max(0, wait_us), after_us, left)


def interval_us(requests_per_second: int) -> int:
    """The interval of a rate, to a microsecond: exact enough up to 10 000 a second."""
    return max(1, round(US_PER_S / requests_per_second))
