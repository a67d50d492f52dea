"""The rate: an even interval, a burst, and never more than both allow."""

from hypothesis import given
from hypothesis import strategies as st

from billing.rate import Rate, interval_us, take_turn

NOW_US = 1_760_000_000_000_000


def turns(rate: Rate, times_us: list[int]) -> list[bool]:
    """Whether each of these requests is admitted, one after the other."""
    full_us, admitted = 0, []
    for time_us in times_us:
        turn = take_turn(full_us, rate._replace(now_us=NOW_US + time_us))
        admitted.append(turn.wait_us == 0)
        full_us = turn.full_us if turn.wait_us == 0 else full_us
    return admitted


def test_a_burst_passes_at_once_and_then_one_each_interval() -> None:
    """Three at once, the fourth after an interval and not a microsecond before."""
    rate = Rate("rate:llm", 500_000, 3, NOW_US)
    assert turns(rate, [0, 0, 0, 0, 499_999, 500_000, 500_000]) == [
        True,
        True,
        True,
        False,
        False,
        True,
        False,
    ]


def test_what_is_left_and_how_long_to_wait_are_told() -> None:
    """Left counts down to none; the wait is what a refused request needs."""
    rate = Rate("rate:llm", 500_000, 2, NOW_US)
    first = take_turn(0, rate)
    second = take_turn(first.full_us, rate)
    third = take_turn(second.full_us, rate)
    assert [turn.left.requests for turn in (first, second)] == [1, 0]
    assert (second.left.full_after_us, third.wait_us) == (1_000_000, 500_000)
    assert take_turn(second.full_us, rate._replace(now_us=NOW_US + third.wait_us)).wait_us == 0


@given(
    st.integers(1, 1_000),
    st.integers(1, 50),
    st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_burst_and_rate(rps: int, burst: int, times: list[int]) -> None:
    """In any stretch of time at most the burst and one for each interval are admitted."""
    rate = Rate("rate:llm", interval_us(rps), burst, NOW_US)
    times_us = sorted(times)
    passed = [t for t, ok in zip(times_us, turns(rate, times_us), strict=True) if ok]
    for start in range(len(passed)):
        for end in range(start, len(passed)):
            stretch_us = passed[end] - passed[start]
            assert end - start + 1 <= burst + stretch_us // rate.interval_us + 1


def test_intervals_are_whole_microseconds() -> None:
    """Exact for the rates that plans name; the highest rate is one each microsecond."""
    assert [interval_us(rps) for rps in (1, 2, 50, 1_000, 1_000_000)] == [
        1_000_000,
        500_000,
        20_000,
        1_000,
        1,
    ]
