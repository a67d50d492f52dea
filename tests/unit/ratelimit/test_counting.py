"""The numbers that are kept per rule, as envoyproxy/ratelimit counts them."""

from __future__ import annotations

import pytest

from ratelimit.counting import RuleCounts


@pytest.mark.parametrize(
    ("before", "hits", "near"),
    [(0, 1, 0), (7, 1, 0), (8, 1, 1), (7, 3, 2), (0, 10, 2), (9, 0, 0)],
)
def test_hits_that_fit(before: int, hits: int, near: int) -> None:
    """All are within the limit; those above eight of ten were near it."""
    counts = RuleCounts()
    counts.kept(hits, before, 10, 0.8)
    assert (counts.within_limit, counts.near_limit, counts.over_limit) == (hits, near, 0)


@pytest.mark.parametrize(
    ("before", "hits", "over", "near"),
    [(10, 1, 1, 0), (12, 4, 4, 0), (9, 3, 2, 1), (5, 10, 5, 2), (0, 25, 15, 2)],
)
def test_hits_that_filled_the_limit_up(before: int, hits: int, over: int, near: int) -> None:
    """Where refused hits are counted, the part that still fitted was near and the rest over."""
    counts = RuleCounts()
    assert counts.exceeded(hits, before, 10, 0.8, counted=True) == over
    assert (counts.over_limit, counts.near_limit, counts.within_limit) == (over, near, 0)


def test_hits_that_were_not_taken() -> None:
    """Where refused hits are not counted, all of them are over."""
    counts = RuleCounts()
    assert counts.exceeded(5, 9, 10, 0.8, counted=False) == 5
    assert (counts.over_limit, counts.near_limit) == (5, 0)


def test_hits_that_needed_no_question() -> None:
    """They are over, and counted among those that were known to be."""
    counts = RuleCounts()
    counts.exceeded_unasked(3)
    assert (counts.over_limit, counts.over_limit_cached) == (3, 3)
