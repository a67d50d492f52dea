"""The port of the counters, in domain words: one behavioural suite holds every implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ratelimit.algorithms import Group, Reading


class CounterStore(Protocol):
    """Counters that all workers share, or that one process keeps for itself."""

    async def draw(self, group: Group) -> Sequence[Reading]:
        """Answer all draws of one request in one step, in order, and count what is to be counted.

        Atomic for all counters of the group, except in a Redis Cluster: there for those that lie
        in one slot (see :mod:`ratelimit.keys`). Raises
        :class:`ratelimit.errors.StoreUnavailable` when no answer comes within the store's deadline;
        whether the draw was counted is then unknown.
        """

    def state(self) -> str:
        """One word for health: ``ok``, or what is wrong."""

    async def close(self) -> None:
        """Let go of connections and tasks; no call may follow."""
