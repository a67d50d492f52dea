"""Two stores as one."""

from __future__ import annotations

from ratelimit.algorithms import Group, Mode
from ratelimit.limits import Limit
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.split import SplitStore
from ratelimit.units import Unit
from tests.unit.ratelimit.building import T0_US

FAST, SLOW = Limit(5, Unit.SECOND), Limit(5, Unit.DAY)


async def test_each_limit_in_its_store() -> None:
    """Limits per second in one, the others in the other; answers in the order of the question."""
    main, per_second = MemoryStore(9), MemoryStore(9)
    store = SplitStore(main, per_second)
    draws = [SLOW.draw("a", 1, T0_US), FAST.draw("b", 2, T0_US), SLOW.draw("c", 3, T0_US)]
    readings = await store.draw(Group(draws))
    assert [reading.after for reading in readings] == [1, 2, 3]
    assert (main.held, per_second.held) == (2, 1)
    for limit, name in ((FAST, "b"), (SLOW, "a")):
        await store.draw(Group([limit.draw(name, 1, T0_US)]))
    assert (main.held, per_second.held) == (2, 1)


async def test_what_belongs_together_stays_together() -> None:
    """Then everything is in the main store, a mere look too."""
    main, per_second = MemoryStore(9), MemoryStore(9)
    store = SplitStore(main, per_second)
    draws = [SLOW.draw("a", 1, T0_US), FAST.draw("b", 1, T0_US)]
    for mode in (Mode.ALL_OR_NONE, Mode.LOOK, Mode.EACH):
        await store.draw(Group(draws, mode, together=True))
    assert (main.held, per_second.held) == (2, 0)


class _Sick(MemoryStore):
    def state(self) -> str:
        return "breaker_open"


def test_its_state_is_the_worse_one() -> None:
    """Health shows whichever of the two is away."""
    assert SplitStore(MemoryStore(1), MemoryStore(1)).state() == "ok"
    assert SplitStore(MemoryStore(1), _Sick(1)).state() == "breaker_open"
    assert SplitStore(_Sick(1), MemoryStore(1)).state() == "breaker_open"
