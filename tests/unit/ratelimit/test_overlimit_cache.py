"""The memory of who is over the limit."""

from __future__ import annotations

from ratelimit.overlimit_cache import OverLimitCache

SECOND_US = 1_000_000


def test_what_is_remembered_holds_until_waiting_helps() -> None:
    """The rest of the wait is told, and nothing once it is over."""
    cache = OverLimitCache(10, 10 * SECOND_US)
    cache.remember("k", 5, 0, 3 * SECOND_US)
    assert cache.blocked_us("k", 5, SECOND_US) == 2 * SECOND_US
    assert cache.blocked_us("k", 5, 3 * SECOND_US) == 0
    assert len(cache) == 0


def test_nothing_is_remembered_for_long() -> None:
    """After the time to live the store is asked again, however long the wait was."""
    cache = OverLimitCache(10, SECOND_US)
    cache.remember("k", 5, 0, 3_600 * SECOND_US)
    assert cache.blocked_us("k", 5, SECOND_US - 1) == 3_599 * SECOND_US + 1
    assert cache.blocked_us("k", 5, SECOND_US) == 0


def test_another_limit_is_another_question() -> None:
    """A limit that was raised is not held against the old one."""
    cache = OverLimitCache(10, SECOND_US)
    cache.remember("k", 5, 0, SECOND_US)
    assert cache.blocked_us("k", 50, 0) == 0
    assert cache.blocked_us("k", 5, 0) > 0


def test_a_clock_that_steps_back_does_not_prolong_it() -> None:
    """An entry from what is now the future is forgotten."""
    cache = OverLimitCache(10, SECOND_US)
    cache.remember("k", 5, 3_600 * SECOND_US, SECOND_US)
    assert cache.blocked_us("k", 5, 0) == 0


def test_it_is_bounded() -> None:
    """The oldest entry makes room; none is kept where the bound is 0."""
    cache = OverLimitCache(2, SECOND_US)
    for key in "abca":
        cache.remember(key, 5, 0, SECOND_US)
    assert len(cache) == 2
    assert cache.pushed_out == 2
    assert cache.blocked_us("b", 5, 0) == 0
    assert cache.blocked_us("a", 5, 0) > 0
    none = OverLimitCache(0, SECOND_US)
    none.remember("k", 5, 0, SECOND_US)
    assert none.blocked_us("k", 5, 0) == 0


def test_it_can_be_told_to_forget() -> None:
    """One counter when hits came back, all of them when the rules changed."""
    cache = OverLimitCache(5, SECOND_US)
    cache.remember("a", 5, 0, SECOND_US)
    cache.remember("b", 5, 0, SECOND_US)
    cache.forget("a")
    assert cache.blocked_us("a", 5, 0) == 0
    cache.clear()
    assert cache.blocked_us("b", 5, 0) == 0
