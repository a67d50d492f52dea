"""The limits as one would say them, without regard to speed: every hit that was ever counted
is kept, and each question is answered from all of them anew, in exact fractions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from ratelimit.algorithms import DEBT_MAX_CAPACITIES, Algorithm, Mode, Role
from ratelimit.limits import Limit


class Ask(NamedTuple):
    """One descriptor of a request: so many hits against a counter. With ``corrects``, hits may be
    negative and are taken in any case."""

    counter: str
    limit: Limit
    hits: int
    role: Role = Role.PLAIN
    corrects: bool = False
    drawn_us: int = 0


class Said(NamedTuple):
    """What the model answers: whether the hits fit, and how many were used before (which is
    not asked for a correction).
    """

    over: bool
    used: int


class _Hit(NamedTuple):
    counted_us: int
    hits: int
    at_us: int


@dataclass
class ReferenceModel:
    """Counters of any number of limits; times must not go back."""

    log: dict[str, list[_Hit]] = field(default_factory=lambda: defaultdict(list))

    def ask(self, asks: Sequence[Ask], mode: Mode, now_us: int) -> list[Said]:
        """Answer one request and count it as the mode says."""
        before = {counter: list(hits) for counter, hits in self.log.items()}
        answers = []
        for ask in asks:
            used = self.used(ask.counter, ask.limit, now_us)
            size = ask.limit.burst or ask.limit.requests_per_unit
            over = not ask.corrects and used + ask.hits > (size if ask.limit.capacity else 0)
            answers.append(Said(over, 0 if ask.corrects else ceil(used)))
            if not over or ask.limit.count_refused:
                counted_us = ask.drawn_us if ask.corrects and ask.hits < 0 else now_us
                self.log[ask.counter].append(_Hit(counted_us, ask.hits, now_us))
        if mode is Mode.LOOK or (mode is Mode.ALL_OR_NONE and _refused(asks, answers)):
            self.log = defaultdict(list, before)
        return answers

    def used(self, counter: str, limit: Limit, now_us: int) -> Fraction:
        """How many hits of the limit are used up at this time."""
        if limit.algorithm is Algorithm.TOKEN_BUCKET:
            return self._bucket(counter, limit, now_us)
        window = limit.window(now_us)
        current = self._counted(counter, window.start_us, window.end_us)
        if limit.algorithm is Algorithm.FIXED_WINDOW:
            return Fraction(current)
        previous = self._counted(counter, window.previous_start_us, window.start_us)
        part = Fraction(window.end_us - now_us, window.end_us - window.start_us)
        return Fraction(current + ceil(previous * part))

    def _counted(self, counter: str, start_us: int, end_us: int) -> int:
        total = 0
        for hit in self.log[counter]:
            if start_us <= hit.counted_us < end_us:
                total = max(0, total + hit.hits)
        return total

    def _bucket(self, counter: str, limit: Limit, now_us: int) -> Fraction:
        rate = Fraction(limit.requests_per_unit, limit.unit.length_us)
        most = DEBT_MAX_CAPACITIES * Fraction(limit.capacity, limit.scale)
        level, last_us = Fraction(0), 0
        for hit in self.log[counter]:
            level = max(Fraction(0), level - (hit.at_us - last_us) * rate)
            level = max(Fraction(0), min(level + hit.hits, most))
            last_us = hit.at_us
        return max(Fraction(0), level - (now_us - last_us) * rate)


def _refused(asks: Sequence[Ask], answers: Sequence[Said]) -> bool:
    pairs = list(zip(asks, answers, strict=True))
    if any(answer.over for ask, answer in pairs if ask.role is Role.PLAIN):
        return True
    quotas = [
        ask.role is Role.QUOTA and answer.over
        for ask, answer in pairs
        if ask.role in {Role.QUOTA, Role.SHADOW_QUOTA}
    ]
    return bool(quotas) and all(quotas)
