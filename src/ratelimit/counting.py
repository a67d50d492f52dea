"""What each rule has seen, in hits: the numbers that envoyproxy/ratelimit keeps per rule."""

from __future__ import annotations


class RuleCounts:
    """Hits of one rule since the process began."""

    __slots__ = (
        "near_limit",
        "over_limit",
        "over_limit_cached",
        "shadow_mode",
        "total",
        "within_limit",
    )

    def __init__(self) -> None:
        self.total = 0
        self.over_limit = 0
        self.near_limit = 0
        self.within_limit = 0
        self.shadow_mode = 0
        self.over_limit_cached = 0

    def passed(self, hits: int) -> None:
        """Hits of an unlimited rule."""
        self.total += hits
        self.within_limit += hits

    def kept(self, hits: int, before: int, limit: int, near_ratio: float) -> None:
        """All hits fitted. Those above ``near_ratio`` of the limit were near it."""
        near = int(limit * near_ratio)
        self.within_limit += hits
        self.near_limit += max(0, before + hits - max(near, before))

    def exceeded(
        self, hits: int, before: int, limit: int, near_ratio: float, *, counted: bool
    ) -> int:
        """Not all hits fitted; returns how many were over.

        Where refused hits are ``counted``, those that filled the limit up were near it and only the
        rest is over. Otherwise none was taken and all of them are over.
        """
        over = hits
        if counted and before < limit:
            near = int(limit * near_ratio)
            over = before + hits - limit
            self.near_limit += limit - max(near, before)
        self.over_limit += over
        return over

    def exceeded_unasked(self, hits: int) -> None:
        """Known to be over without asking the store."""
        self.over_limit += hits
        self.over_limit_cached += hits
