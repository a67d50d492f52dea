"""A limit as values: what a rule or an override says, made ready for drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import gcd

from ratelimit.algorithms import Algorithm, Consume, Draw, Role
from ratelimit.units import Unit, Window, calendar_window, clock_window

# Above every limit that the wire can carry (2**32 - 1), so a larger number of hits changes no
# answer.
HITS_MAX = 2**32
REQUESTS_PER_UNIT_MAX = 2**32 - 1


@dataclass(frozen=True)
class Limit:
    """So many requests per unit, and how they are counted.

    ``burst`` is what a token bucket holds, in hits; 0 means as many as it gains per unit.
    """

    requests_per_unit: int
    unit: Unit
    algorithm: Algorithm = Algorithm.FIXED_WINDOW
    burst: int = 0
    calendar: bool = False
    billing_day: int = 1
    count_refused: bool = True
    scale: int = field(init=False, compare=False)
    drain: int = field(init=False, compare=False)
    capacity: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        scale, drain, hits = 1, 0, self.requests_per_unit
        if self.algorithm is Algorithm.TOKEN_BUCKET:
            divisor = gcd(self.unit.length_us, self.requests_per_unit)
            scale = self.unit.length_us // divisor
            drain = self.requests_per_unit // divisor
            hits = (self.burst or hits) if hits else 0
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "drain", drain)
        object.__setattr__(self, "capacity", hits * scale)

    @cached_property
    def kind(self) -> str:
        """Tells counters apart that must not be mixed: by algorithm, and by the shape of
        windows.
        """
        if self.algorithm is Algorithm.TOKEN_BUCKET:
            return "bucket"
        shape = f"{self.unit.value}.{self.billing_day}" if self.calendar else self.unit.value
        return f"{self.algorithm.name.lower()}.{shape}"

    @property
    def consume(self) -> Consume:
        """Whether a refused draw is counted all the same."""
        return Consume.ALWAYS if self.count_refused else Consume.IF_IT_FITS

    def window(self, at_us: int) -> Window:
        """The window that a draw at this time counts in; meaningless for a bucket."""
        if self.calendar:
            return calendar_window(self.unit, self.billing_day, at_us)
        return clock_window(self.unit, at_us)

    def draw(self, key: str, hits: int, now_us: int, role: Role = Role.PLAIN) -> Draw:
        """The draw of ``hits`` (0 asks without counting) against the counter ``key``."""
        cost = min(hits, HITS_MAX) * self.scale
        return self._draw(key, cost, (now_us, now_us), role, self.consume)

    def correction(self, key: str, delta_hits: int, now_us: int, drawn_us: int) -> Draw:
        """A draw that is taken in any case. What is given back (a negative delta) belongs to the
        window of ``drawn_us``; what is drawn in addition, to the one of now."""
        delta = max(-HITS_MAX, min(delta_hits, HITS_MAX))
        counted_us = drawn_us if delta < 0 else now_us
        cost = delta * self.scale
        return self._draw(key, cost, (now_us, counted_us), Role.SHADOW, Consume.CORRECTION)

    def shared(self, share: float) -> Limit:
        """The part of this limit that one of several instances may give out alone; at least one."""
        return _shared(self, share)

    def _draw(
        self, key: str, cost: int, times: tuple[int, int], role: Role, consume: Consume
    ) -> Draw:
        now_us, counted_us = times
        per_second = self.unit is Unit.SECOND
        if self.algorithm is Algorithm.TOKEN_BUCKET:
            return Draw(
                key, self.algorithm, role, consume, cost, self.capacity, now_us, counted_us,
                0, 0, 0, self.scale, self.drain, self.unit.length_us // 1000, per_second,
            )  # fmt: skip
        start_us, end_us, previous_us = self.window(now_us)
        length_us = end_us - start_us
        if self.algorithm is Algorithm.SLIDING_WINDOW:
            ttl_ms = (end_us - now_us + length_us) // 1000 + 1000
        else:
            if counted_us != now_us:
                start_us = self.window(counted_us).start_us
            key = f"{key}:{start_us // 1_000_000}"
            ttl_ms = max(0, end_us - now_us) // 1000 + 1000
        return Draw(
            key, self.algorithm, role, consume, cost, self.capacity, now_us, counted_us,
            start_us, previous_us, length_us, 1, 0, ttl_ms, per_second,
        )  # fmt: skip


@lru_cache(maxsize=4096)
def _shared(limit: Limit, share: float) -> Limit:
    def part(hits: int) -> int:
        return max(1, int(hits * share)) if hits else 0

    return Limit(
        part(limit.requests_per_unit),
        limit.unit,
        limit.algorithm,
        part(limit.burst),
        limit.calendar,
        limit.billing_day,
        limit.count_refused,
    )


@lru_cache(maxsize=4096)
def overridden(requests_per_unit: int, unit: Unit, like: Limit | None, burst: int) -> Limit:
    """The limit of an override: its rate and unit, counted as the matching rule counts.

    Without a matching rule it counts in fixed windows, as envoyproxy does. ``burst`` is the
    request's own; with 0 a token bucket holds what the rule says."""
    if like is None:
        return Limit(requests_per_unit, unit)
    calendar = like.calendar and like.unit is unit
    return Limit(
        requests_per_unit,
        unit,
        like.algorithm,
        burst or like.burst,
        calendar,
        like.billing_day if calendar else 1,
        like.count_refused,
    )
