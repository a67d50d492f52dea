"""The rules in force: a tree per domain, made once per load, matched with dictionary look-ups.

At each level of a descriptor the most specific child wins, as in envoyproxy/ratelimit: the
rule with this key and value, then the first rule of the file with this key whose value has a
``*`` that matches, then the rule with this key and no value. A descriptor gets the limit of
the rule that its last entry reaches, and none when it is shorter or longer than the path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, NamedTuple

from ratelimit.descriptors import Descriptor, Entry
from ratelimit.errors import Finding
from ratelimit.keys import Part
from ratelimit.limits import Limit

OnFailure = Literal["deny", "allow", "local", "error"]
Parameter = Literal["burst", "quoted_hits"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A place in a file with a ``rate_limit``. No ``limit`` means unlimited."""

    label: str  # its path in the file, for metrics: ``message_type_marketing.to_number``
    file: str
    line: int
    limit: Limit | None
    name: str = ""
    replaces: frozenset[str] = frozenset()
    shadow_mode: bool = False
    quota_mode: bool = False
    detailed_metric: bool = False
    label_varies: bool = False  # the metric's label depends on the request's values
    metadata: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Node:
    """One descriptor of a file. Only the loader writes to it."""

    key: str = ""
    value: str = ""
    rule: Rule | None = None
    parameter: Parameter | None = None
    share_threshold: bool = False
    value_to_metric: bool = False
    exact: dict[Entry, Node] = field(default_factory=dict)
    wildcards: dict[str, list[tuple[tuple[str, ...], Node]]] = field(default_factory=dict)
    any_value: dict[str, Node] = field(default_factory=dict)

    def child(self, entry: Entry) -> Node | None:
        """The most specific descriptor below this one for an entry."""
        found = self.exact.get(entry)
        if found is None and self.wildcards:
            for pattern, node in self.wildcards.get(entry[0], ()):
                if matches(pattern, entry[1]):
                    return node
        return found or self.any_value.get(entry[0])


class Match(NamedTuple):
    """The rule that applies to a descriptor, and what its counter is named by."""

    rule: Rule
    parts: Sequence[Part]
    label: str
    burst: str = ""  # as the request says it; empty when it does not
    quoted_hits: str = ""


@dataclass(frozen=True, slots=True)
class Domain:
    """The rules of one domain, and how its requests are answered as a whole."""

    name: str
    root: Node
    file: str
    all_or_nothing: bool = False
    on_failure: OnFailure | None = None  # None: what the settings say
    one_slot: bool = False  # all counters of the domain on one node of a Redis Cluster

    def match(self, descriptor: Descriptor) -> Match | None:
        """The rule that the descriptor's entries lead to, if any."""
        node = self.root
        path = []
        for entry in descriptor.entries:
            found = node.child(entry)
            if found is None:
                return None
            path.append(found)
            node = found
        if node.rule is None:
            return None
        return _match(descriptor.entries, path, node.rule)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Every domain of a directory, as loaded at once."""

    domains: Mapping[str, Domain]
    warnings: Sequence[Finding] = ()

    def rules(self) -> Iterator[tuple[Domain, Rule]]:
        """Every rule with its domain, in the order of the files' levels."""
        for domain in self.domains.values():
            for node in _below(domain.root):
                if node.rule is not None and node.parameter is None:
                    yield domain, node.rule


def _below(node: Node) -> Iterator[Node]:
    wildcards = (child for siblings in node.wildcards.values() for _, child in siblings)
    for child in chain(node.any_value.values(), node.exact.values(), wildcards):
        yield child
        yield from _below(child)


def _match(entries: Sequence[Entry], path: Sequence[Node], rule: Rule) -> Match:
    parts = []
    said: dict[str, str] = {}
    for (key, value), node in zip(entries, path, strict=True):
        if node.parameter:
            said[node.parameter] = value
        elif node.share_threshold:
            parts.append(Part(key, node.value, shared=True))
        else:
            parts.append(Part(key, value))
    label = _label(entries, path, rule) if rule.label_varies else rule.label
    return Match(rule, parts, label, said.get("burst", ""), said.get("quoted_hits", ""))


def _label(entries: Sequence[Entry], path: Sequence[Node], rule: Rule) -> str:
    """The label with the request's values where the file asks for them.

    ``detailed_metric`` takes all values of the request, ``value_to_metric`` those of its own level;
    a value that is shared by a pattern shows as the pattern in both.
    """
    words = []
    for (key, value), node in zip(entries, path, strict=True):
        if node.parameter:
            continue
        runtime = rule.detailed_metric or node.value_to_metric
        shown = value if runtime and not node.share_threshold else node.value
        words.append(f"{key}_{shown}" if shown else key)
    return ".".join(words)


def matches(pattern: Sequence[str], value: str) -> bool:
    """Whether a value is the pattern's pieces in order, with anything or nothing between them.

    The pattern is the file's value split at each ``*``, so it has at least two pieces.
    """
    first, *middle, last = pattern
    if len(value) < len(first) + len(last):
        return False
    if not value.startswith(first) or not value.endswith(last):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        at = value.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
