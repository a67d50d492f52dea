"""Counters in this process: for a single node without Redis, for counting while Redis is away,
and as the double in tests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from ratelimit.algorithms import Group, Reading, State, apply

# Looked at per call for expiry, so that memory falls again without ever stopping to sweep.
_SWEPT_PER_CALL = 4


class MemoryStore:
    """Counters in a dictionary of bounded size.

    Expiry follows the draws' own times, not a clock of the store's own. Above ``counters_max`` the
    counter that was written, or looked at for expiry, longest ago is forgotten, which its key gains
    by; ``forgotten`` says how many were.
    """

    def __init__(self, counters_max: int) -> None:
        self._counters_max = counters_max
        # With the time of expiry, in the order of writing.
        self._counters: OrderedDict[str, tuple[State, int]] = OrderedDict()
        self.forgotten = 0

    @property
    def held(self) -> int:
        """How many counters there are."""
        return len(self._counters)

    async def draw(self, group: Group) -> Sequence[Reading]:
        """See the protocol; never fails."""
        return self.draw_now(group)

    def draw_now(self, group: Group) -> Sequence[Reading]:
        """The same, without waiting for the event loop."""
        now_us = group.draws[0].now_us if group.draws else 0

        def read(key: str) -> State | None:
            known = self._counters.get(key)
            return known[0] if known and known[1] > now_us else None

        applied = apply(group, read)
        for key, (state, ttl_ms) in applied.changed.items():
            self._counters[key] = (state, now_us + ttl_ms * 1000)
            self._counters.move_to_end(key)
        self._sweep(now_us)
        return applied.readings

    def state(self) -> str:
        """Always ``ok``."""
        return "ok"

    async def close(self) -> None:
        """Forget everything."""
        self._counters.clear()

    def _sweep(self, now_us: int) -> None:
        counters = self._counters
        for _ in range(min(_SWEPT_PER_CALL, len(counters))):
            key, (state, expires_us) = counters.popitem(last=False)
            if expires_us > now_us:
                counters[key] = (state, expires_us)
        while len(counters) > self._counters_max:
            counters.popitem(last=False)
            self.forgotten += 1
