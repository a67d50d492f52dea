"""One descriptor's turn: the rule that applies to it, its draw, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ratelimit.algorithms import Draw, Reading, Role
from ratelimit.counting import RuleCounts
from ratelimit.decision import NO_LIMIT, NO_LIMIT_QUOTA, UNLIMITED, Status
from ratelimit.descriptors import Descriptor
from ratelimit.keys import Part, counter_name
from ratelimit.limits import HITS_MAX, REQUESTS_PER_UNIT_MAX, Limit, overridden
from ratelimit.metrics import Metrics
from ratelimit.rules import Domain, Match, Rule
from ratelimit.waiting import remaining_hits, until_reset_us

# The label of hits against an override that no rule of the domain matches.
OVERRIDE_LABEL = "override"


@dataclass(slots=True)
class Turn:
    """A descriptor that a limit applies to."""

    rule: Rule | None  # None for an override, which takes nothing from a rule but how it counts
    limit: Limit
    counter: str  # its name; a fixed window's draw adds the window to it
    draw: Draw
    hits: int
    counts: RuleCounts
    too_large: bool = False
    corrects: bool = False
    reading: Reading | None = None
    blocked_us: int = 0  # when the reading is known without asking

    def status(self, *, quota_mode: bool) -> Status:
        """The answer for this descriptor, once it has a reading."""
        assert self.reading is not None
        rule = self.rule
        over = self.reading.over and self.draw.role not in {Role.SHADOW, Role.SHADOW_QUOTA}
        wait_us = self.blocked_us or until_reset_us(self.draw, self.reading)
        return Status(
            over,
            self.limit,
            rule.name if rule else "",
            remaining_hits(self.draw, self.reading),
            wait_us,
            quota_mode or (rule is not None and rule.quota_mode),
            rule.metadata if rule else None,
        )


Placed = Turn | Status  # a turn that needs a count, or an answer that needs none


class Terms(NamedTuple):
    """What the settings say about every turn."""

    key_prefix: str
    quota_mode: bool
    size_max_bytes: int


class Applying(NamedTuple):
    """Finds the turns of one request's descriptors."""

    domain: Domain
    terms: Terms
    metrics: Metrics
    now_us: int

    def placed(self, descriptors: Sequence[Descriptor]) -> list[Placed]:
        """One for each descriptor, with what another one replaces taken out."""
        asked = [(descriptor, self.domain.match(descriptor)) for descriptor in descriptors]
        replaced: frozenset[str] = frozenset()
        for descriptor, match in asked:
            if match is not None and descriptor.override is None:
                replaced |= match.rule.replaces
        return [self._placed(descriptor, match, replaced) for descriptor, match in asked]

    def _placed(
        self, descriptor: Descriptor, match: Match | None, replaced: frozenset[str]
    ) -> Placed:
        if descriptor.override is None:
            none = NO_LIMIT_QUOTA if self.terms.quota_mode else NO_LIMIT
            if match is None:
                return none
            if match.rule.limit is None:
                self._counts(match).passed(descriptor.hits)
                return UNLIMITED
            if match.rule.name and match.rule.name in replaced:
                return none
        return self._turn(descriptor, match)

    def _turn(self, descriptor: Descriptor, match: Match | None) -> Turn:
        limit = self._limit(descriptor, match)
        parts = match.parts if match else [Part(key, value) for key, value in descriptor.entries]
        key = counter_name(
            self.terms.key_prefix,
            self.domain.name,
            limit.kind,
            parts,
            tag_by_entry=not self.domain.one_slot,
        )
        counts = self._counts(match)
        rule = match.rule if match and descriptor.override is None else None
        quoted = self._number(match.quoted_hits, HITS_MAX) if match and match.quoted_hits else None
        if quoted is not None:
            delta = min(descriptor.hits, HITS_MAX) - quoted
            draw = limit.correction(key, delta, self.now_us, self.now_us)
        else:
            role = _role(rule, quota_mode=self.terms.quota_mode)
            draw = limit.draw(key, descriptor.hits, self.now_us, role)
        return Turn(
            rule,
            limit,
            key,
            draw,
            descriptor.hits,
            counts,
            too_large=_too_large(descriptor, self.terms.size_max_bytes),
            corrects=quoted is not None,
        )

    def _limit(self, descriptor: Descriptor, match: Match | None) -> Limit:
        said = self._number(match.burst, REQUESTS_PER_UNIT_MAX) if match and match.burst else None
        rule_limit = match.rule.limit if match else None
        override = descriptor.override
        if override is not None:
            return overridden(override.requests_per_unit, override.unit, rule_limit, said or 0)
        assert rule_limit is not None
        if not said:
            return rule_limit
        return overridden(rule_limit.requests_per_unit, rule_limit.unit, rule_limit, said)

    def _counts(self, match: Match | None) -> RuleCounts:
        name = self.domain.name
        if match is None:
            return self.metrics.rule(name, OVERRIDE_LABEL)
        if match.label is match.rule.label:
            return self.metrics.rule(name, match.label)
        return self.metrics.rule_by_value(name, match.label, match.rule.label)

    def _number(self, text: str, most: int) -> int | None:
        """A parameter's value; one that is no number counts as not said."""
        if text.isascii() and text.isdigit() and len(text) <= 20:
            return min(int(text), most)
        self.metrics.events["parameter_not_a_number"] += 1
        return None


def _role(rule: Rule | None, *, quota_mode: bool) -> Role:
    quota = quota_mode or (rule is not None and rule.quota_mode)
    if rule is not None and rule.shadow_mode:
        return Role.SHADOW_QUOTA if quota else Role.SHADOW
    return Role.QUOTA if quota else Role.PLAIN


def _too_large(descriptor: Descriptor, size_max_bytes: int) -> bool:
    chars = sum(len(key) + len(value) for key, value in descriptor.entries)
    if chars * 4 <= size_max_bytes:  # no character takes more bytes
        return False
    size_bytes = sum(len(key.encode()) + len(value.encode()) for key, value in descriptor.entries)
    return size_bytes > size_max_bytes
