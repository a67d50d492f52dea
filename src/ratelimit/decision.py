"""The answer to a request, as values: made by :mod:`ratelimit.limiter`, put on the wire by
:mod:`ratelimit.response`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ratelimit.limits import Limit

UNLIMITED_REMAINING = 2**32 - 1


class Status(NamedTuple):
    """The answer for one descriptor. Without a limit, none applies to it."""

    over: bool = False
    limit: Limit | None = None
    name: str = ""
    remaining: int = 0
    until_reset_us: int = 0
    quota: bool = False
    metadata: Mapping[str, Any] | None = None

    @property
    def reset_s(self) -> int:
        """Whole seconds, rounded up: who waits so long does not come too early."""
        return -(-self.until_reset_us // 1_000_000)


NO_LIMIT = Status()
# With every limit a quota, one that does not apply is a quota that is never used up.
NO_LIMIT_QUOTA = Status(quota=True)
UNLIMITED = Status(remaining=UNLIMITED_REMAINING)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for the whole request; one status per descriptor, in order."""

    over: bool
    statuses: Sequence[Status]

    @property
    def nearest(self) -> Status | None:
        """The status that headers show: the last one that refused the request, or else the first of
        those with the least left."""
        found: Status | None = None
        least = UNLIMITED_REMAINING
        for status in self.statuses:
            if status.limit is None:
                continue
            if status.over and not status.quota:
                found, least = status, 0
            elif status.remaining < least:
                found, least = status, status.remaining
        return found


def concluded(statuses: Sequence[Status]) -> bool:
    """Whether the request is over its limit: any descriptor that is no quota is over, or all
    that are quotas are.
    """
    quotas = 0
    quotas_over = 0
    for status in statuses:
        if status.quota:
            quotas += 1
            quotas_over += status.over
        elif status.over:
            return True
    return quotas > 0 and quotas == quotas_over
