"""Counters in this process."""

from __future__ import annotations

from ratelimit.algorithms import Group
from ratelimit.limits import Limit
from ratelimit.stores.memory import MemoryStore
from ratelimit.units import SECOND_US, Unit
from tests.unit.ratelimit.building import T0_US

LIMIT = Limit(5, Unit.MINUTE)


async def test_it_is_bounded() -> None:
    """A thousand keys leave as many as are allowed, the ones written last."""
    store = MemoryStore(100)
    for number in range(1_000):
        await store.draw(Group([LIMIT.draw(f"k{number}", 1, T0_US)]))
    assert store.held == 100
    assert store.forgotten == 900
    (last,) = await store.draw(Group([LIMIT.draw("k999", 0, T0_US)]))
    assert last.before == 1


async def test_what_expired_is_swept() -> None:
    """Memory falls again as time goes on, without a pause for sweeping."""
    store = MemoryStore(100_000)
    for number in range(1_000):
        await store.draw(Group([LIMIT.draw(f"k{number}", 1, T0_US)]))
    for number in range(400):
        later_us = T0_US + 120 * SECOND_US + number
        await store.draw(Group([LIMIT.draw("other", 1, later_us)]))
    assert store.held < 10
    assert store.forgotten == 0


async def test_an_empty_group_is_no_fault() -> None:
    """Nothing asked, nothing answered."""
    assert await MemoryStore(1).draw(Group([])) == []
