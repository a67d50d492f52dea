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
# A bucket that is drawn beyond its capacity (a correction, or `count_refused`) owes at most so
# many capacities, so that one absurd number cannot lock a key out for longer than that many
# refills.
DEBT_MAX_CAPACITIES = 60


class Algorithm(enum.IntEnum):
    """How a limit counts; the numbers are known to ``limits.lua``."""

    FIXED_WINDOW = 0
    SLIDING_WINDOW = 1
    TOKEN_BUCKET = 2


class Role(enum.IntEnum):
    """What it means for the whole request when this draw does not fit."""

    PLAIN = 0  # the request is over its limit
    QUOTA = 1  # the request is over its limit when every quota of it is
    SHADOW = 2  # nothing
    SHADOW_QUOTA = 3  # a quota that never counts as used up


class Consume(enum.IntEnum):
    """When a draw is taken."""

    IF_IT_FITS = 0
    ALWAYS = 1  # counted although refused, as envoyproxy/ratelimit's fixed windows are
    CORRECTION = 2  # taken, or given back when negative; never refused


class Mode(enum.IntEnum):
    """How the draws of one request depend on each other."""

    EACH = 0  # each for itself
    ALL_OR_NONE = 1  # none is taken when the request is over its limit
    LOOK = 2  # none is taken in any case; the answers are those of EACH


class Draw(NamedTuple):
    """One descriptor's cost against one counter. Times in microseconds, amounts in ticks."""

    key: str
    algorithm: int
    role: int
    consume: int
    cost: int
    capacity: int
    now_us: int
    drawn_us: int  # for a correction: when the cost was taken that is now put right; else now
    start_us: int  # of the window of now; 0 for buckets, as the next two
    previous_start_us: int
    length_us: int
    scale: int  # ticks of one hit
    drain: int  # ticks that a bucket loses per microsecond
    ttl_ms: int  # how long the counter may be needed; a draining bucket's follows from its level
    per_second: bool = False  # may lie in a store of its own


class Group(NamedTuple):
    """The draws of one request."""

    draws: Sequence[Draw]
    mode: int = Mode.EACH
    together: bool = False  # all counters in one store, for one step has to see them all


class Reading(NamedTuple):
    """What became of one draw: levels in ticks; the last two are a sliding window's two
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

    readings: list[Reading]
    changed: dict[str, tuple[State, int]]


def apply(group: Group, read: Callable[[str], State | None]) -> Applied:
    """Answer every draw of the group, in order, as the group's mode says."""
    anchored: dict[str, tuple[State, int]] = {}  # written whatever the mode says
    changed: dict[str, tuple[State, int]] = {}
    readings = []
    for draw in group.draws:
        written = changed.get(draw.key) or anchored.get(draw.key)
        known = written[0] if written else read(draw.key)
        state = brought_up(draw, known)
        if known is not None and stepped_back(draw, known):
            anchored[draw.key] = (state, ttl_ms(draw, state))
        before = after = level(draw, state)
        over = draw.consume != Consume.CORRECTION and before + draw.cost > draw.capacity
        if not over or draw.consume == Consume.ALWAYS:
            taken = _taken(draw, state)
            after = level(draw, taken)
            if draw.cost != 0:
                changed[draw.key] = (taken, ttl_ms(draw, taken))
        readings.append(Reading(over, before, after, *_counts(draw, state)))
    if group.mode == Mode.LOOK or (group.mode == Mode.ALL_OR_NONE and refused(group, readings)):
        return Applied([reading._replace(after=reading.before) for reading in readings], anchored)
    return Applied(readings, anchored | changed)


def refused(group: Group, readings: Sequence[Reading]) -> bool:
    """Whether the request is over its limit: any plain draw is over, or all of its quotas are."""
    quotas = 0
    quotas_over = 0
    for draw, reading in zip(group.draws, readings, strict=True):
        if draw.role == Role.PLAIN and reading.over:
            return True
        quotas += draw.role in {Role.QUOTA, Role.SHADOW_QUOTA}
        quotas_over += draw.role == Role.QUOTA and reading.over
    return quotas > 0 and quotas == quotas_over


def brought_up(draw: Draw, state: State | None) -> State:
    """The counter's state at the draw's time, before its cost."""
    if draw.algorithm == Algorithm.FIXED_WINDOW:
        return state or (0, 0, 0)
    if draw.algorithm == Algorithm.SLIDING_WINDOW:
        return _slid(draw, state or (draw.start_us, 0, 0))
    return _drained(draw, state or (0, draw.now_us, draw.scale))


def stepped_back(draw: Draw, state: State) -> bool:
    """Whether the counter is of a time so far ahead that the clock must have been put back. Its new
    time is then kept even when nothing else is, or it would stand still until the old one."""
    if draw.algorithm == Algorithm.FIXED_WINDOW:
        return False
    at_us = state[0] if draw.algorithm == Algorithm.SLIDING_WINDOW else state[1]
    return at_us - draw.now_us > STEP_BACK_MAX_US


def level(draw: Draw, state: State) -> int:
    """How much of the limit is used, in ticks, by a state that was brought up to the draw's
    time.
    """
    if draw.algorithm != Algorithm.SLIDING_WINDOW:
        return state[0]
    start_us, current, previous = state
    left_us = draw.length_us - max(0, draw.now_us - start_us)
    return current + -(-previous * max(0, left_us) // draw.length_us)


def ttl_ms(draw: Draw, state: State) -> int:
    """For how long the state differs from no state at all, and a second for clocks that are
    behind.
    """
    if draw.drain == 0:
        return draw.ttl_ms
    return -(-state[0] // (draw.drain * 1000)) + 1000


def _slid(draw: Draw, state: State) -> State:
    start_us, current, previous = state
    if start_us < draw.start_us:
        follows = start_us == draw.previous_start_us
        return (draw.start_us, 0, current if follows else 0)
    if start_us - draw.now_us > STEP_BACK_MAX_US:
        return (draw.start_us, current, 0)
    return (start_us, current, previous)


def _drained(draw: Draw, state: State) -> State:
    ticks, last_us, scale = state
    if scale != draw.scale:
        ticks = -(-ticks * draw.scale // scale)
    elapsed_us = draw.now_us - last_us
    if -STEP_BACK_MAX_US <= elapsed_us < 0:
        return (ticks, last_us, draw.scale)
    ticks = max(0, ticks - max(0, elapsed_us) * draw.drain)
    return (ticks, draw.now_us, draw.scale)


def _taken(draw: Draw, state: State) -> State:
    """The state after the draw's cost, which a correction may make negative."""
    if draw.algorithm == Algorithm.FIXED_WINDOW:
        return (_bounded(state[0] + draw.cost, COUNT_MAX), 0, 0)
    if draw.algorithm == Algorithm.TOKEN_BUCKET:
        most = DEBT_MAX_CAPACITIES * draw.capacity
        return (_bounded(state[0] + draw.cost, most), state[1], state[2])
    start_us, current, previous = state
    if draw.cost >= 0 or draw.drawn_us >= start_us:
        return (start_us, _bounded(current + draw.cost, COUNT_MAX), previous)
    if start_us - draw.drawn_us <= draw.length_us:
        return (start_us, current, _bounded(previous + draw.cost, COUNT_MAX))
    return state


def _bounded(amount: int, most: int) -> int:
    return max(0, min(amount, most))


def _counts(draw: Draw, state: State) -> tuple[int, int]:
    if draw.algorithm == Algorithm.SLIDING_WINDOW:
        return state[1], state[2]
    return 0, 0
