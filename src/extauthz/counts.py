"""What the front door counts, as plain numbers.

The hot path adds to integers, which costs a tenth of a metric object with its lock;
:mod:`extauthz.metrics` shows them to Prometheus. The thread of the event loop alone writes them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

ALLOWED = "allowed"
UNKNOWN_ROUTE = "unknown"
"""The label of checks without a route that we know: a client cannot make up labels."""

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""From a tenth of a millisecond (a known key, nothing to wait for) to the longest wait."""


@dataclass(slots=True)
class DirectoryCounts:
    """Look-ups by outcome, queries, changes told. A miss ends in ``unavailable``, in ``stale``, or
    with an answer of Postgres."""

    hits: int = 0
    unknown_hits: int = 0
    misses: int = 0
    stale: int = 0
    unavailable: int = 0
    overloads: int = 0
    queries_answered: int = 0
    queries_failed: int = 0
    changes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """What the directory holds at a moment.

    ``known`` keys, ``ready`` ones among them, ``unknown`` ones, and how many of each had to make
    room. ``waiting`` keys wait for Postgres, which is ``away`` when its last answer failed.
    ``lost_s`` is when the stream of changes broke last, on the directory's clock.
    """

    known: int
    ready: int
    unknown: int
    known_evicted: int
    ready_evicted: int
    unknown_evicted: int
    waiting: int
    away: bool
    lost_s: float


class CheckCounts:
    """Decisions by route and code, how long they took, faults by kind, checks under way.

    ``buckets`` has one more place than :data:`BOUNDS_S`, for what took longer than all of them.
    """

    __slots__ = ("buckets", "decisions", "faults", "in_flight", "sum_s")

    def __init__(self) -> None:
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self.in_flight = 0
        self.sum_s = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)

    def decided(self, route: str, code: str, took_s: float) -> None:
        """Count one decision; ``route`` is a configured name or :data:`UNKNOWN_ROUTE`."""
        self.decisions[route, code] += 1
        self.buckets[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s
