"""The arithmetic of the three algorithms."""

from __future__ import annotations

from hypothesis import given

from ratelimit.algorithms import (
    COUNT_MAX,
    STEP_BACK_MAX_US,
    Algorithm,
    Draw,
    Group,
    Mode,
    Reading,
    Role,
    State,
    apply,
)
from ratelimit.limits import HITS_MAX, Limit
from ratelimit.units import SECOND_US, Unit
from tests.unit.ratelimit import asking
from tests.unit.ratelimit.reference_model import ReferenceModel

T0_US = 1_700_000_000 * SECOND_US - 1_700_000_000 * SECOND_US % (60 * SECOND_US)
FIXED = Limit(3, Unit.MINUTE)
SLIDING = Limit(10, Unit.MINUTE, Algorithm.SLIDING_WINDOW, count_refused=False)
BUCKET = Limit(2, Unit.SECOND, Algorithm.TOKEN_BUCKET, burst=3, count_refused=False)


class Counters:
    """Counters without expiry."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}

    def ask(self, group: Group) -> list[Reading]:
        """Apply a group and keep what it changed."""
        applied = apply(group, self.states.get)
        self.states |= {key: state for key, (state, _) in applied.changed.items()}
        return applied.readings

    def hit(self, limit: Limit, hits: int, now_us: int) -> Reading:
        """One draw by itself."""
        return self.ask(Group([limit.draw("k", hits, now_us)]))[0]


def overs(counters: Counters, limit: Limit, now_us: int, count: int) -> list[bool]:
    """Whether each of so many single hits at one time is over."""
    return [counters.hit(limit, 1, now_us).over for _ in range(count)]


def test_a_fixed_window_counts_refused_hits_until_it_ends() -> None:
    """Three fit, the fourth does not and is counted, and the next window starts from nothing."""
    counters = Counters()
    assert overs(counters, FIXED, T0_US, 4) == [False, False, False, True]
    assert counters.hit(FIXED, 0, T0_US) == Reading(True, 4, 4, 0, 0)
    assert counters.hit(FIXED, 1, T0_US + 60 * SECOND_US) == Reading(False, 0, 1, 0, 0)


def test_a_fixed_window_can_leave_refused_hits_uncounted() -> None:
    """With count_refused false a large request that is refused leaves room for small ones."""
    limit = Limit(3, Unit.MINUTE, count_refused=False)
    counters = Counters()
    assert counters.hit(limit, 4, T0_US).over
    assert overs(counters, limit, T0_US, 4) == [False, False, False, True]


def test_a_sliding_window_weighs_the_previous_one() -> None:
    """A quarter into the next minute three quarters of ten hits still count, rounded up."""
    counters = Counters()
    assert not counters.hit(SLIDING, 10, T0_US + 59 * SECOND_US).over
    later_us = T0_US + 75 * SECOND_US
    assert counters.hit(SLIDING, 0, later_us).before == 8
    assert overs(counters, SLIDING, later_us, 3) == [False, False, True]


def test_a_sliding_window_forgets_what_is_two_windows_old() -> None:
    """After a whole window without hits nothing is used."""
    counters = Counters()
    counters.hit(SLIDING, 10, T0_US)
    assert counters.hit(SLIDING, 1, T0_US + 121 * SECOND_US).before == 0


def test_a_bucket_holds_a_burst_and_refills_steadily() -> None:
    """Three at once, then exactly one for each half second."""
    counters = Counters()
    assert overs(counters, BUCKET, T0_US, 4) == [False, False, False, True]
    assert counters.hit(BUCKET, 1, T0_US + 499_999).over
    assert not counters.hit(BUCKET, 1, T0_US + 500_000).over
    assert counters.hit(BUCKET, 1, T0_US + 500_000).over


def test_a_bucket_has_no_window_edge() -> None:
    """In no span of one second do more than burst plus rate pass, edges of seconds included."""
    counters = Counters()
    passed = [
        at_us
        for at_us in range(T0_US, T0_US + 5 * SECOND_US, 20_000)
        if not counters.hit(BUCKET, 1, at_us).over
    ]
    for first in passed:
        assert sum(first <= at_us < first + SECOND_US for at_us in passed) <= 5
    assert len(passed) == 3 + 2 * 5 - 1


def test_a_rate_that_divides_nothing_is_exact() -> None:
    """Seven per second: over a hundred seconds each hit passes when its seventh of a second has
    come, and not a microsecond before."""
    limit = Limit(7, Unit.SECOND, Algorithm.TOKEN_BUCKET, burst=2, count_refused=False)
    counters = Counters()
    assert not counters.hit(limit, 2, T0_US).over
    for number in range(1, 7 * 100 + 1):
        due_us = T0_US - -number * SECOND_US // 7
        assert counters.hit(limit, 1, due_us - 1).over, number
        assert not counters.hit(limit, 1, due_us).over, number


def test_a_changed_rate_keeps_what_was_used() -> None:
    """A bucket that another rate filled half is half full under the new one."""
    counters = Counters()
    counters.hit(Limit(1, Unit.SECOND, Algorithm.TOKEN_BUCKET, burst=10), 5, T0_US)
    faster = Limit(300, Unit.MINUTE, Algorithm.TOKEN_BUCKET, burst=10)
    reading = counters.hit(faster, 0, T0_US)
    assert reading.before == 5 * faster.scale
    assert not counters.hit(faster, 10, T0_US + SECOND_US).over


def test_a_clock_that_steps_back_a_little_gives_nothing_twice() -> None:
    """Going back and forth by less than the tolerance passes no more than standing still."""
    counters = Counters()
    overs(counters, BUCKET, T0_US, 3)
    for _ in range(10):
        assert counters.hit(BUCKET, 1, T0_US - 2 * SECOND_US).over
        assert counters.hit(BUCKET, 1, T0_US).over
    assert not counters.hit(BUCKET, 1, T0_US + 500_000).over


def test_a_clock_that_is_put_back_far_starts_anew_from_there() -> None:
    """After an hour's step back a bucket refills from the new time at once, and is not stuck."""
    for limit, wait_us in ((BUCKET, 500_000), (SLIDING, 120 * SECOND_US)):
        counters = Counters()
        counters.hit(limit, limit.burst or limit.requests_per_unit, T0_US)
        earlier_us = T0_US - 3_600 * SECOND_US
        assert counters.hit(limit, 1, earlier_us).over
        assert not counters.hit(limit, 1, earlier_us + wait_us).over


def test_a_sliding_window_waits_for_a_clock_that_is_just_behind() -> None:
    """A caller whose clock lags over a window's edge counts in the new window all the same."""
    counters = Counters()
    counters.hit(SLIDING, 10, T0_US + 60 * SECOND_US)
    reading = counters.hit(SLIDING, 1, T0_US + 60 * SECOND_US - STEP_BACK_MAX_US)
    assert reading.over
    assert reading.before == 10


def test_absurd_hits_saturate() -> None:
    """However large the numbers, a count stays exact in a double and the answer is over."""
    for limit in (FIXED, SLIDING, BUCKET):
        always = Limit(
            limit.requests_per_unit, limit.unit, limit.algorithm, limit.burst, count_refused=True
        )
        counters = Counters()
        for _ in range(3):
            assert counters.hit(always, 2**64 - 1, T0_US).over
        assert counters.hit(always, HITS_MAX, T0_US).after <= COUNT_MAX
    huge = Limit(2**32 - 1, Unit.YEAR, Algorithm.TOKEN_BUCKET, burst=2**32 - 1)
    assert not Counters().hit(huge, 2**32 - 1, T0_US).over


def test_the_debt_of_a_bucket_is_bounded() -> None:
    """After one absurd correction a bucket is usable again once sixty of them have drained."""
    counters = Counters()
    counters.ask(Group([BUCKET.correction("k", 2**40, T0_US, T0_US)]))
    assert counters.hit(BUCKET, 1, T0_US + 80 * SECOND_US).over
    assert not counters.hit(BUCKET, 1, T0_US + 90 * SECOND_US).over


def test_a_limit_of_zero_refuses_every_hit_and_no_question() -> None:
    """Nothing ever fits under 0, but asking without a hit is not over."""
    for algorithm in Algorithm:
        limit = Limit(0, Unit.SECOND, algorithm, burst=5 if algorithm == 2 else 0)
        counters = Counters()
        assert not counters.hit(limit, 0, T0_US).over
        assert counters.hit(limit, 1, T0_US).over
        assert counters.hit(limit, 1, T0_US + 10 * SECOND_US).over


def test_hits_that_were_not_used_return_to_their_window() -> None:
    """What was drawn in the last window goes back there, and to nowhere when it is long over."""
    counters = Counters()
    counters.hit(SLIDING, 8, T0_US)
    later_us = T0_US + 60 * SECOND_US
    counters.hit(SLIDING, 1, later_us)
    counters.ask(Group([SLIDING.correction("k", -4, later_us, T0_US)]))
    assert counters.hit(SLIDING, 0, later_us).before == 5
    counters.ask(Group([SLIDING.correction("k", -4, later_us, T0_US - 3_600 * SECOND_US)]))
    assert counters.hit(SLIDING, 0, later_us).before == 5
    counters.ask(Group([SLIDING.correction("k", -4, later_us, later_us)]))
    assert counters.hit(SLIDING, 0, later_us).before == 4


def test_a_correction_is_never_refused_and_never_below_nothing() -> None:
    """Drawing more goes past the limit; giving back more than was used leaves nothing used."""
    for limit in (FIXED, SLIDING, BUCKET):
        counters = Counters()
        (reading,) = counters.ask(Group([limit.correction("k", 50, T0_US, T0_US)]))
        assert not reading.over
        assert counters.hit(limit, 1, T0_US).over
        counters.ask(Group([limit.correction("k", -1000, T0_US, T0_US)]))
        assert counters.hit(limit, 0, T0_US).before == 0


def _draws(*hits: int, role: Role = Role.PLAIN) -> list[Draw]:
    limit = Limit(5, Unit.MINUTE, count_refused=False)
    return [limit.draw(f"k{number}", n, T0_US, role) for number, n in enumerate(hits)]


def test_all_or_none_takes_nothing_when_one_is_over() -> None:
    """The descriptor that fits is answered as fitting, and is not consumed."""
    counters = Counters()
    readings = counters.ask(Group(_draws(2, 6), Mode.ALL_OR_NONE))
    assert [(reading.over, reading.after) for reading in readings] == [(False, 0), (True, 0)]
    assert counters.states == {}


def test_a_shadow_does_not_stop_the_others() -> None:
    """A draw that cannot refuse the request does not keep the rest from being taken."""
    counters = Counters()
    draws = [*_draws(2), *_draws(0, 6, role=Role.SHADOW)[1:]]
    readings = counters.ask(Group(draws, Mode.ALL_OR_NONE))
    assert [(reading.over, reading.after) for reading in readings] == [(False, 2), (True, 0)]


def test_all_or_none_sees_the_same_counter_twice() -> None:
    """Two descriptors on one counter count one after the other, and fall together."""
    counters = Counters()
    limit = Limit(5, Unit.MINUTE, count_refused=False)
    twice = [limit.draw("k", 3, T0_US)] * 2
    assert [o.over for o in counters.ask(Group(twice, Mode.ALL_OR_NONE))] == [False, True]
    assert counters.states == {}
    assert [o.over for o in counters.ask(Group(twice))] == [False, True]
    assert counters.hit(limit, 0, T0_US).before == 3


@given(asking.steps)
def test_the_arithmetic_agrees_with_the_reference_model(steps: list[asking.Step]) -> None:
    """Whatever is asked, in whatever mode and role, the answers are the slow model's."""
    counters, model = Counters(), ReferenceModel()
    now_us = asking.START_US
    for undated in steps:
        now_us += undated.later_us
        step = asking.dated(undated, now_us)
        group = asking.group_of(step, now_us)
        expected = model.ask(step.asks, step.mode, now_us)
        assert asking.said(group, counters.ask(group)) == expected
