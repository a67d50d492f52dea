"""Limits as values, ready for drawing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.algorithms import Algorithm, Consume, Role
from ratelimit.limits import HITS_MAX, Limit, overridden
from ratelimit.units import SECOND_US, Unit
from tests.unit.ratelimit.building import T0_US


@given(st.integers(1, 2**32 - 1), st.sampled_from(Unit))
def test_a_bucket_counts_in_whole_ticks(rate: int, unit: Unit) -> None:
    """In one unit of time a bucket drains exactly as many hits as its rate says."""
    limit = Limit(rate, unit, Algorithm.TOKEN_BUCKET)
    assert limit.drain * unit.length_us == rate * limit.scale
    assert limit.capacity == rate * limit.scale


def test_a_fixed_window_has_a_counter_per_window() -> None:
    """The draw's name ends in the second at which its window starts; a later window has
    another.
    """
    limit = Limit(5, Unit.MINUTE)
    assert limit.draw("k", 1, T0_US + 7).key == f"k:{T0_US // SECOND_US}"
    assert limit.draw("k", 1, T0_US + 60 * SECOND_US).key == f"k:{T0_US // SECOND_US + 60}"
    given_back = limit.correction("k", -1, T0_US + 60 * SECOND_US, T0_US)
    assert given_back.key == f"k:{T0_US // SECOND_US}"


def test_what_is_drawn_in_addition_counts_now() -> None:
    """Only what is given back belongs to the past."""
    limit = Limit(5, Unit.MINUTE)
    draw = limit.correction("k", 3, T0_US + 60 * SECOND_US, T0_US)
    assert draw.key == f"k:{T0_US // SECOND_US + 60}"
    assert draw.consume == Consume.CORRECTION


def test_hits_saturate() -> None:
    """More hits than any limit can allow are as many as that."""
    limit = Limit(5, Unit.MINUTE)
    assert limit.draw("k", 2**64 - 1, T0_US).cost == HITS_MAX
    assert limit.correction("k", -(2**70), T0_US, T0_US).cost == -HITS_MAX


def test_kinds_tell_counters_apart() -> None:
    """Different windows never share a counter; a bucket keeps its level under another rate."""
    limits = [
        Limit(5, Unit.MINUTE),
        Limit(5, Unit.HOUR),
        Limit(5, Unit.MONTH),
        Limit(5, Unit.MONTH, calendar=True),
        Limit(5, Unit.MONTH, calendar=True, billing_day=15),
        Limit(5, Unit.MINUTE, Algorithm.SLIDING_WINDOW),
        Limit(5, Unit.MINUTE, Algorithm.TOKEN_BUCKET),
    ]
    assert len({limit.kind for limit in limits}) == len(limits)
    bucket = Limit(5, Unit.MINUTE, Algorithm.TOKEN_BUCKET)
    assert Limit(9, Unit.HOUR, Algorithm.TOKEN_BUCKET, burst=3).kind == bucket.kind
    assert Limit(9, Unit.MINUTE).kind == Limit(5, Unit.MINUTE).kind


def test_an_override_without_a_rule_counts_in_fixed_windows() -> None:
    """As envoyproxy/ratelimit does."""
    assert overridden(5, Unit.DAY, None, 0) == Limit(5, Unit.DAY)


def test_an_override_counts_as_its_rule_does() -> None:
    """The rate is the override's; algorithm and burst are the rule's, unless the request says."""
    rule = Limit(1, Unit.SECOND, Algorithm.TOKEN_BUCKET, burst=20, count_refused=False)
    assert overridden(7, Unit.MINUTE, rule, 0) == Limit(
        7, Unit.MINUTE, Algorithm.TOKEN_BUCKET, burst=20, count_refused=False
    )
    assert overridden(7, Unit.MINUTE, rule, 3).burst == 3
    plain = Limit(1, Unit.SECOND, Algorithm.TOKEN_BUCKET, count_refused=False)
    assert (
        overridden(7, Unit.SECOND, plain, 0).capacity
        == 7 * overridden(7, Unit.SECOND, plain, 0).scale
    )


def test_a_billing_day_applies_to_an_override_of_the_same_unit() -> None:
    """A month of an override begins when the rule's does; a day has no billing day."""
    rule = Limit(1, Unit.MONTH, calendar=True, billing_day=15)
    assert overridden(7, Unit.MONTH, rule, 0).billing_day == 15
    assert not overridden(7, Unit.DAY, rule, 0).calendar


def test_a_share_is_at_least_one() -> None:
    """A part of a small limit still lets somebody through; no part of nothing is something."""
    assert Limit(10, Unit.MINUTE).shared(0.5).requests_per_unit == 5
    assert Limit(1, Unit.MINUTE).shared(0.01).requests_per_unit == 1
    assert Limit(0, Unit.MINUTE).shared(0.5).requests_per_unit == 0
    bucket = Limit(9, Unit.MINUTE, Algorithm.TOKEN_BUCKET, burst=4).shared(0.5)
    assert (bucket.requests_per_unit, bucket.burst) == (4, 2)


def test_only_limits_per_second_may_lie_apart() -> None:
    """The second Redis is for them alone, whatever the algorithm."""
    for algorithm in Algorithm:
        assert Limit(5, Unit.SECOND, algorithm).draw("k", 1, T0_US, Role.PLAIN).per_second
        assert not Limit(5, Unit.MINUTE, algorithm).draw("k", 1, T0_US, Role.PLAIN).per_second
