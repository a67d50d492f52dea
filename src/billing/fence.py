"""How long a worker may act on what it holds in memory alone.

Whoever builds a copy waits for all workers that count as live, by their heartbeats. So a worker may
admit from its leases only while it surely counts as live: for less time after each heartbeat than
the others wait. After a gap, what it held before is void: a copy may have been built without it.
"""

from __future__ import annotations

TRUST_S = 1.0
"""Below the age at which a heartbeat is no sign of life any more (``postgres_workers.FRESH``)."""


class Fence:
    """Times are of a clock that never goes back, and goes on while the machine sleeps."""

    __slots__ = ("since_s", "until_s")

    def __init__(self) -> None:
        self.since_s = 0.0
        self.until_s = 0.0

    def confirm(self, sent_s: float) -> None:
        """A heartbeat that was sent at ``sent_s`` was heard."""
        if sent_s >= self.until_s:
            self.since_s = sent_s
        self.until_s = max(self.until_s, sent_s + TRUST_S)

    def covers(self, had_s: float, now_s: float) -> bool:
        """Whether what was asked for at ``had_s`` may still be used."""
        return now_s < self.until_s and had_s >= self.since_s
