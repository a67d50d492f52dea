"""Rules in words, for people."""

from __future__ import annotations

from collections.abc import Iterator

from ratelimit.limits import Limit
from ratelimit.rules import Domain, Rule, RuleSet


def described(rules: RuleSet) -> Iterator[str]:
    """One line per rule, in the form of envoyproxy/ratelimit's page and with what we add."""
    for domain, rule in rules.rules():
        yield f"{_line(domain, rule)}\n"


def _line(domain: Domain, rule: Rule) -> str:
    flags = f"shadow_mode: {_word(rule.shadow_mode)}, quota_mode: {_word(rule.quota_mode)}"
    return f"{domain.name}.{rule.label}: {described_limit(rule.limit)}, {flags}"


def described_limit(limit: Limit | None) -> str:
    """A limit in one line."""
    if limit is None:
        return "unlimited"
    text = f"unit={limit.unit.name} requests_per_unit={limit.requests_per_unit}"
    text += f", algorithm: {limit.algorithm.name.lower()}"
    if limit.burst:
        text += f", burst: {limit.burst}"
    if limit.calendar:
        text += f", billing_day: {limit.billing_day}"
    return text


def _word(flag: bool) -> str:
    return "true" if flag else "false"
