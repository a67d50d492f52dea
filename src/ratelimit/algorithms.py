"""The arithmetic of the three algorithms: pure, in integers, without a clock and without a store.

Each algorithm answers the same question: how much of a limit is *used* at this moment
(``level``), and does a cost still fit under the ``capacity``? Levels, costs and capacities are
counted in **ticks**:

===============  ===============  =======================================================
algorithm        one hit is       level now
===============  ===============  =======================================================
fixed window     1 tick           the count of this window
sliding window   1 tick           this window's count, and the part of the previous one's
                                  that still lies within one length, rounded up
token bucket     ``scale`` ticks  the last level, less ``drain`` ticks per microsecond
                                  (GCRA in its bucket form: no window and no edge)
===============  ===============  =======================================================

For a bucket of ``r`` hits per ``u`` microseconds, ``scale = u / g`` and ``drain = r / g`` with
``g`` their greatest common divisor: so one hit and one microsecond are both whole numbers of
ticks and nothing is rounded while numbers stay below 2**53. ``stores/limits.lua`` is this module
in Lua, where numbers are doubles; the suite in ``tests/contract`` holds the two together.

The clock is the caller's. When it steps back by up to ``STEP_BACK_MAX_US`` (or when another
caller's clock is behind by so much) time stands still for the counter: nothing drains, nothing is
given twice. A larger step is taken for a clock that was put right, and counting goes on from the
new time.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Clocks of hosts under NTP differ by milliseconds; five seconds tells that from a clock being set.
STEP_BACK_MAX_US = 5_000_000
# No counter passes this, so that sums stay exact in doubles: far above any limit (2**32 - 1).
COUNT_MAX = 2**52
# A bucket that is charged beyond its capacity (a correction, or `count_refused`) owes at most so
# many capacities, so that one absurd number cannot lock a key out for longer than that many
# refills.
DEBT_MAX_CAPACITIES = 60


class Algorithm(enum.IntEnum):
    """How a limit counts; the numbers are known to ``limits.lua``."""

    FIXED_WINDOW = 0
    SLIDING_WINDOW = 1
    TOKEN_BUCKET = 2


class Role(enum.IntEnum):
    """What it means for the whole request when this charge does not fit."""

    PLAIN = 0  # the request is over its limit
    QUOTA = 1  # the request is over its limit when every quota of it is
    SHADOW = 2  # nothing
    SHADOW_QUOTA = 3  # a quota that never counts as used up


class Consume(enum.IntEnum):
    """When a charge is taken."""

    IF_IT_FITS = 0
    ALWAYS = 1  # counted although refused, as envoyproxy/ratelimit's fixed windows are
    CORRECTION = 2  # taken, or given back when negative; never refused


class Mode(enum.IntEnum):
    """How the charges of one request depend on each other."""

    EACH = 0  # each for itself
    ALL_OR_NONE = 1  # none is taken when the request is over its limit
    LOOK = 2  # none is taken in any case; the answers are those of EACH


class Charge(NamedTuple):
    """One descriptor's cost against one counter. Times in microseconds, amounts in ticks."""

    key: str
    algorithm: int
    role: int
    consume: int
    cost: int
    capacity: int
    now_us: int
    charged_us: int  # for a correction: when the cost was taken that is now put right; else now
    start_us: int  # of the window of now; 0 for buckets, as the next two
    previous_start_us: int
    length_us: int
    scale: int  # ticks of one hit
    drain: int  # ticks that a bucket loses per microsecond
    ttl_ms: int  # how long the counter may be needed; a draining bucket's follows from its level
    per_second: bool = False  # may lie in a store of its own


class Group(NamedTuple):
    """The charges of one request."""

    charges: Sequence[Charge]
    mode: int = Mode.EACH
    together: bool = False  # all counters in one store, for one step has to see them all


class Outcome(NamedTuple):
    """What became of one charge: levels in ticks; the last two are a sliding window's two
    counts.
    """

    over: bool
    before: int
    after: int
    current: int
    previous: int


# A fixed window's state is (count, 0, 0); a sliding window's (start_us, current, previous); a
# bucket's (level, last_us, scale).
State = tuple[int, int, int]


class Applied(NamedTuple):
    """What to answer, and what to write: each changed counter with its time to live."""

    outcomes: list[Outcome]
    changed: dict[str, tuple[State, int]]


def apply(group: Group, read: Callable[[str], State | None]) -> Applied:
    """Answer every charge of the group, in order, as the group's mode says."""
    anchored: dict[str, tuple[State, int]] = {}  # written whatever the mode says
    changed: dict[str, tuple[State, int]] = {}
    outcomes = []
    for charge in group.charges:
        written = changed.get(charge.key) or anchored.get(charge.key)
        known = written[0] if written else read(charge.key)
        state = brought_up(charge, known)
        if known is not None and stepped_back(charge, known):
            anchored[charge.key] = (state, ttl_ms(charge, state))
        before = after = level(charge, state)
        over = charge.consume != Consume.CORRECTION and before + charge.cost > charge.capacity
        if not over or charge.consume == Consume.ALWAYS:
            taken = _taken(charge, state)
            after = level(charge, taken)
            if charge.cost != 0:
                changed[charge.key] = (taken, ttl_ms(charge, taken))
        outcomes.append(Outcome(over, before, after, *_counts(charge, state)))
    if group.mode == Mode.LOOK or (group.mode == Mode.ALL_OR_NONE and refused(group, outcomes)):
        return Applied([outcome._replace(after=outcome.before) for outcome in outcomes], anchored)
    return Applied(outcomes, anchored | changed)


def refused(group: Group, outcomes: Sequence[Outcome]) -> bool:
    """Whether the request is over its limit: any plain charge is over, or all of its quotas are."""
    quotas = 0
    quotas_over = 0
    for charge, outcome in zip(group.charges, outcomes, strict=True):
        if charge.role == Role.PLAIN and outcome.over:
            return True
        quotas += charge.role in {Role.QUOTA, Role.SHADOW_QUOTA}
        quotas_over += charge.role == Role.QUOTA and outcome.over
    return quotas > 0 and quotas == quotas_over


def brought_up(charge: Charge, state: State | None) -> State:
    """The counter's state at the charge's time, before its cost."""
    if charge.algorithm == Algorithm.FIXED_WINDOW:
        return state or (0, 0, 0)
    if charge.algorithm == Algorithm.SLIDING_WINDOW:
        return _slid(charge, state or (charge.start_us, 0, 0))
    return _drained(charge, state or (0, charge.now_us, charge.scale))


def stepped_back(charge: Charge, state: State) -> bool:
    """Whether the counter is of a time so far ahead that the clock must have been put back. Its new
    time is then kept even when nothing else is, or it would stand still until the old one."""
    if charge.algorithm == Algorithm.FIXED_WINDOW:
        return False
    at_us = state[0] if charge.algorithm == Algorithm.SLIDING_WINDOW else state[1]
    return at_us - charge.now_us > STEP_BACK_MAX_US


def level(charge: Charge, state: State) -> int:
    """How much of the limit is used, in ticks, by a state that was brought up to the charge's
    time.
    """
    if charge.algorithm != Algorithm.SLIDING_WINDOW:
        return state[0]
    start_us, current, previous = state
    left_us = charge.length_us - max(0, charge.now_us - start_us)
    return current + -(-previous * max(0, left_us) // charge.length_us)


def ttl_ms(charge: Charge, state: State) -> int:
    """For how long the state differs from no state at all, and a second for clocks that are
    behind.
    """
    if charge.drain == 0:
        return charge.ttl_ms
    return -(-state[0] // (charge.drain * 1000)) + 1000


def _slid(charge: Charge, state: State) -> State:
    start_us, current, previous = state
    if start_us < charge.start_us:
        follows = start_us == charge.previous_start_us
        return (charge.start_us, 0, current if follows else 0)
    if start_us - charge.now_us > STEP_BACK_MAX_US:
        return (charge.start_us, current, 0)
    return (start_us, current, previous)


def _drained(charge: Charge, state: State) -> State:
    ticks, last_us, scale = state
    if scale != charge.scale:
        ticks = -(-ticks * charge.scale // scale)
    elapsed_us = charge.now_us - last_us
    if -STEP_BACK_MAX_US <= elapsed_us < 0:
        return (ticks, last_us, charge.scale)
    ticks = max(0, ticks - max(0, elapsed_us) * charge.drain)
    return (ticks, charge.now_us, charge.scale)


def _taken(charge: Charge, state: State) -> State:
    """The state after the charge's cost, which a correction may make negative."""
    if charge.algorithm == Algorithm.FIXED_WINDOW:
        return (_bounded(state[0] + charge.cost, COUNT_MAX), 0, 0)
    if charge.algorithm == Algorithm.TOKEN_BUCKET:
        most = DEBT_MAX_CAPACITIES * charge.capacity
        return (_bounded(state[0] + charge.cost, most), state[1], state[2])
    start_us, current, previous = state
    if charge.cost >= 0 or charge.charged_us >= start_us:
        return (start_us, _bounded(current + charge.cost, COUNT_MAX), previous)
    if start_us - charge.charged_us <= charge.length_us:
        return (start_us, current, _bounded(previous + charge.cost, COUNT_MAX))
    return state


def _bounded(amount: int, most: int) -> int:
    return max(0, min(amount, most))


def _counts(charge: Charge, state: State) -> tuple[int, int]:
    if charge.algorithm == Algorithm.SLIDING_WINDOW:
        return state[1], state[2]
    return 0, 0
