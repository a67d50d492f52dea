"""A map that never grows past its bound."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.bounded import BoundedMap


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from(["put", "touch", "discard"]), st.integers(0, 20))),
)
def test_a_small_map_keeps_the_youngest(limit: int, steps: list[tuple[str, int]]) -> None:
    """One segment behaves like a list that is cut at its old end."""
    bounded: BoundedMap[int] = BoundedMap(limit)
    model: list[int] = []
    evicted = 0
    for action, number in steps:
        if action == "put":
            bounded.put(key(number), number)
            if number not in model and len(model) == limit:
                model.pop(0)
                evicted += 1
            model = [*(n for n in model if n != number), number]
        elif action == "touch":
            bounded.touch(key(number))
            model = [*(n for n in model if n != number), *([number] if number in model else [])]
        else:
            bounded.discard(key(number))
            model = [n for n in model if n != number]
    assert [n for n in range(21) if bounded.get(key(n)) is not None] == sorted(model)
    assert (len(bounded), bounded.evicted) == (len(model), evicted)


@pytest.mark.parametrize("limit", [1, 4_096, 9_000])
def test_no_bound_is_passed(limit: int) -> None:
    """However many entries come, there are never more than the bound, and nearly as many."""
    bounded: BoundedMap[int] = BoundedMap(limit)
    for number in range(2 * limit + 500):
        bounded.put(key(number), number)
    assert 0.9 * limit <= len(bounded) <= limit


def test_a_cleared_map_is_empty_and_counts_on() -> None:
    """Clearing forgets the entries, not how many had to make room before."""
    bounded: BoundedMap[int] = BoundedMap(1)
    for number in itertools.islice(itertools.count(), 3):
        bounded.put(key(number), number)
    bounded.clear()
    assert (len(bounded), bounded.get(key(2)), bounded.evicted) == (0, None, 2)
