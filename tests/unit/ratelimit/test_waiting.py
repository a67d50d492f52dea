"""How much is left, and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.algorithms import Algorithm, Group, Reading
from ratelimit.limits import Limit
from ratelimit.stores.memory import MemoryStore
from ratelimit.units import SECOND_US, Unit
from ratelimit.waiting import remaining_hits, until_reset_us, wait_us
from tests.unit.ratelimit.building import T0_US

LIMITS = [
    Limit(5, Unit.MINUTE, count_refused=False),
    Limit(5, Unit.MINUTE, Algorithm.SLIDING_WINDOW, count_refused=False),
    Limit(5, Unit.MINUTE, Algorithm.TOKEN_BUCKET, burst=3, count_refused=False),
]


def hit(store: MemoryStore, limit: Limit, hits: int, now_us: int) -> tuple[Reading, int, int]:
    """A reading, the time until its own hits fit, and what remains."""
    draw = limit.draw("k", hits, now_us)
    (reading,) = store.draw_now(Group([draw]))
    return reading, wait_us(draw, reading, draw.cost), remaining_hits(draw, reading)


def test_a_fixed_window_resets_at_its_end() -> None:
    """As envoyproxy/ratelimit says it: the rest of the window, over or not."""
    limit = LIMITS[0]
    for hits in (1, 9):
        draw = limit.draw("k", hits, T0_US + 15 * SECOND_US)
        reading = Reading(over=hits > 5, before=0, after=1, current=0, previous=0)
        if hits > 5:
            reading = reading._replace(after=5)
        assert until_reset_us(draw, reading) == 45 * SECOND_US


def test_a_bucket_resets_when_it_is_full_again() -> None:
    """Two of three used at five per minute take 24 seconds to come back."""
    limit = LIMITS[2]
    draw = limit.draw("k", 2, T0_US)
    (reading,) = MemoryStore(9).draw_now(Group([draw]))
    assert until_reset_us(draw, reading) == 24 * SECOND_US
    assert remaining_hits(draw, reading) == 1


def test_nothing_remains_for_who_was_refused() -> None:
    """Four do not fit where three remain: 0, as envoyproxy/ratelimit answers."""
    store = MemoryStore(9)
    for limit in LIMITS:
        reading, _, remaining = hit(store, limit, 9, T0_US)
        assert reading.over
        assert remaining == 0


@pytest.mark.parametrize("limit", LIMITS)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40 * SECOND_US)), max_size=8),
    st.integers(1, 3),
)
def test_waiting_is_exact(limit: Limit, earlier: list[tuple[int, int]], hits: int) -> None:
    """After the time that is told, and not a microsecond before, the hits fit."""
    store, now_us = MemoryStore(9), T0_US
    for before, later_us in earlier:
        hit(store, limit, before, now_us)
        now_us += later_us
    draw = limit.draw("k", 0, now_us)
    (reading,) = store.draw_now(Group([draw]))
    wait = wait_us(draw, reading, hits * draw.scale)
    assert fits(store, limit, hits, now_us + wait)
    assert wait == 0 or not fits(store, limit, hits, now_us + wait - 1)


def fits(store: MemoryStore, limit: Limit, hits: int, at_us: int) -> bool:
    """Whether the hits would fit then, without counting them."""
    reading, _, _ = hit(store, limit, 0, at_us)
    draw = limit.draw("k", hits, at_us)
    return reading.before + draw.cost <= draw.capacity


def test_more_than_ever_fits_waits_until_nothing_is_used() -> None:
    """A cost above the capacity is told the time until the counter is empty."""
    store = MemoryStore(9)
    hit(store, LIMITS[2], 3, T0_US)
    assert hit(store, LIMITS[2], 4, T0_US)[1] == 36 * SECOND_US
    hit(store, LIMITS[1], 5, T0_US + 30 * SECOND_US)
    reading, wait, _ = hit(store, LIMITS[1], 6, T0_US + 30 * SECOND_US)
    assert reading.over
    assert wait == 90 * SECOND_US


def test_a_limit_of_zero_has_a_wait() -> None:
    """Nothing drains, so a whole unit is told, not an error."""
    limit = Limit(0, Unit.MINUTE, Algorithm.TOKEN_BUCKET)
    assert hit(MemoryStore(9), limit, 1, T0_US)[1] == 60 * SECOND_US
