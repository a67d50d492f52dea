"""One descriptor's turn: the rule that applies to it, its draw, and what became of it. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from ratelimit.algorithms import Draw, Reading, Role
from ratelimit.counting import RuleCounts
from ratelimit.decision import NO_LIMIT, NO_LIMIT_QUOTA, UNLIMITED, Status
from ratelimit.descriptors import Descriptor, Entry, Override
from ratelimit.keys import Part, counter_name
from ratelimit.limits import HITS_MAX, REQUESTS_PER_UNIT_MAX, Limit, overridden
from ratelimit.metrics import Metrics
from ratelimit.rules import Domain, Match, Rule
from ratelimit.waiting import remaining_hits, until_reset_us

# Longer descriptors are rare, and are found anew each time rather than kept in memory.
KNOWN_MAX_CHARS = 512
_UNKNOWN = object()
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
    placements_max: int


class Placement(NamedTuple):
    """All about a descriptor's turn that depends neither on the time nor on the hits."""

    rule: Rule | None  # None for an override
    limit: Limit | None  # None: unlimited
    counter: str
    role: Role
    counts: RuleCounts
    quoted: int | None
    too_large: bool
    odd_parameter: bool  # one that is no number


class Placer:
    """Finds what applies to the descriptors of one domain, and remembers it for the next request
    that brings the same; a bounded number, and only of ordinary length."""

    def __init__(self, domain: Domain, terms: Terms, metrics: Metrics) -> None:
        self._domain = domain
        self._terms = terms
        self._metrics = metrics
        self._known: OrderedDict[tuple[Sequence[Entry], Override | None], Placement | None]
        self._known = OrderedDict()

    def placed(self, descriptors: Sequence[Descriptor], now_us: int) -> list[Placed]:
        """One for each descriptor, with what another one replaces taken out."""
        placements = [self._placement(descriptor) for descriptor in descriptors]
        replaced: frozenset[str] = frozenset()
        for placement in placements:
            if placement is not None and placement.rule is not None:
                replaced |= placement.rule.replaces
        return [
            self._placed(placement, descriptor.hits, replaced, now_us)
            for placement, descriptor in zip(placements, descriptors, strict=True)
        ]

    def _placed(
        self, placement: Placement | None, hits: int, replaced: frozenset[str], now_us: int
    ) -> Placed:
        none = NO_LIMIT_QUOTA if self._terms.quota_mode else NO_LIMIT
        if placement is None:
            return none
        rule, limit = placement.rule, placement.limit
        if limit is None:
            placement.counts.passed(hits)
            return UNLIMITED
        if rule is not None and rule.name and rule.name in replaced:
            return none
        if placement.odd_parameter:
            self._metrics.events["parameter_not_a_number"] += 1
        counter, quoted = placement.counter, placement.quoted
        if quoted is not None:
            draw = limit.correction(counter, min(hits, HITS_MAX) - quoted, now_us, now_us)
        else:
            draw = limit.draw(counter, hits, now_us, placement.role)
        large, corrects = placement.too_large, quoted is not None
        return Turn(rule, limit, counter, draw, hits, placement.counts, large, corrects)

    def _placement(self, descriptor: Descriptor) -> Placement | None:
        asked = (descriptor.entries, descriptor.override)
        found = self._known.get(asked, _UNKNOWN)
        if found is not _UNKNOWN:
            return cast("Placement | None", found)
        placement = self._find(descriptor)
        if sum(len(key) + len(value) for key, value in descriptor.entries) <= KNOWN_MAX_CHARS:
            if len(self._known) >= self._terms.placements_max:
                self._known.popitem(last=False)
                self._metrics.events["placements_forgotten"] += 1
            self._known[asked] = placement
        return placement

    def _find(self, descriptor: Descriptor) -> Placement | None:
        match, override = self._domain.match(descriptor), descriptor.override
        if match is None and override is None:
            return None
        burst, odd_burst = _number(match.burst if match else "", REQUESTS_PER_UNIT_MAX)
        quoted, odd_quote = _number(match.quoted_hits if match else "", HITS_MAX)
        limit = _limit(match, override, burst or 0)
        parts = match.parts if match else [Part(key, value) for key, value in descriptor.entries]
        rule = match.rule if match and override is None else None
        return Placement(
            rule,
            limit,
            self._counter(limit.kind if limit else "", parts),
            _role(rule, quota_mode=self._terms.quota_mode),
            self._counts(match),
            quoted,
            _too_large(descriptor, self._terms.size_max_bytes),
            odd_burst or odd_quote,
        )

    def _counter(self, kind: str, parts: Sequence[Part]) -> str:
        by_entry = not self._domain.one_slot
        name = self._domain.name
        return counter_name(self._terms.key_prefix, name, kind, parts, tag_by_entry=by_entry)

    def _counts(self, match: Match | None) -> RuleCounts:
        name = self._domain.name
        if match is None:
            return self._metrics.rule(name, OVERRIDE_LABEL)
        if match.label is match.rule.label:
            return self._metrics.rule(name, match.label)
        return self._metrics.rule_by_value(name, match.label, match.rule.label)


def _limit(match: Match | None, override: Override | None, burst: int) -> Limit | None:
    """The override's limit, or the rule's, with the burst that the request says."""
    ours = match.rule.limit if match else None
    if override is not None:
        return overridden(override.requests_per_unit, override.unit, ours, burst)
    if ours is None or not burst:
        return ours
    return overridden(ours.requests_per_unit, ours.unit, ours, burst)


def _number(text: str, most: int) -> tuple[int | None, bool]:
    """A parameter's value, and whether it is odd; one that is no number counts as not said."""
    if not text:
        return None, False
    if text.isascii() and text.isdigit() and len(text) <= 20:
        return min(int(text), most), False
    return None, True


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
