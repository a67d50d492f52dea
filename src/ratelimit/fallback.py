"""The declared answer while the counters are away."""

from __future__ import annotations

from collections.abc import Sequence

from ratelimit.algorithms import Group, Mode, Reading, Role
from ratelimit.errors import StoreUnavailable
from ratelimit.metrics import Metrics
from ratelimit.rules import Domain, OnFailure
from ratelimit.stores.memory import MemoryStore
from ratelimit.turns import Turn

# What a refused client is told to wait: the store may be back by then, and no window is known.
DENIED_WAIT_US = 1_000_000


class Fallback:
    """Answers for turns whose store is away, as the domain or else the settings declare.

    ``local`` counts in this process against a share of each limit; those counts are bounded in
    number and do not go to the store when it is back.
    """

    def __init__(
        self, on_failure: OnFailure, share: float, counters: MemoryStore, metrics: Metrics
    ) -> None:
        self._on_failure = on_failure
        self._share = share
        self._counters = counters
        self._metrics = metrics

    def answer(
        self, domain: Domain, turns: Sequence[Turn], mode: Mode, fault: StoreUnavailable
    ) -> None:
        """Give every turn a reading, or raise the fault where the declared answer is an error."""
        declared = domain.on_failure or self._on_failure
        self._metrics.without_store[domain.name, fault.reason, declared] += 1
        if declared == "error":
            raise fault
        if declared == "local":
            self._count_locally(turns, mode)
            return
        over = declared == "deny"
        for turn in turns:
            used = turn.draw.capacity if over else 0
            turn.reading = Reading(over and not turn.corrects, used, used, 0, 0)
            turn.blocked_us = DENIED_WAIT_US if over else 0

    def _count_locally(self, turns: Sequence[Turn], mode: Mode) -> None:
        for turn in turns:
            asked = turn.draw
            share = turn.limit.shared(self._share)
            if turn.corrects:
                delta = asked.cost // asked.scale
                turn.draw = share.correction(turn.counter, delta, asked.now_us, asked.drawn_us)
            else:
                turn.draw = share.draw(turn.counter, turn.hits, asked.now_us, Role(asked.role))
        readings = self._counters.draw_now(Group([turn.draw for turn in turns], mode))
        for turn, reading in zip(turns, readings, strict=True):
            turn.reading = reading
