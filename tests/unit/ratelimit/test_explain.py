"""Why a descriptor is answered as it is."""

from __future__ import annotations

import pytest

from ratelimit.descriptors import Descriptor, Override
from ratelimit.errors import InvalidRequest
from ratelimit.explain import Explanation, explain, parse_entries
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.memory import MemoryStore
from ratelimit.units import Unit
from tests.unit.ratelimit.building import T0_US, built, one, rules_of

RULES = """
domain: d
descriptors:
  - {key: two, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: shade, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
"""


async def told(*words: str, domain: str = "d", override: Override | None = None) -> Explanation:
    """The explanation over an empty store."""
    descriptor = Descriptor(parse_entries(words), 1, override)
    store, settings = MemoryStore(10), RateLimitSettings()
    return await explain(rules_of(RULES), store, settings, domain, descriptor, now_us=T0_US)


async def test_verdicts() -> None:
    """Each way in which a descriptor can be answered has its word."""
    assert (await told("two=1", domain="x")).verdict == "unknown_domain"
    assert (await told("three=1")).verdict == "no_rule"
    assert (await told("two=1", "more=1")).verdict == "no_rule"
    assert (await told("free=1")).verdict == "unlimited"
    assert (await told("two=1")).verdict == "ok"
    assert (await told("shade=1")).verdict == "ok_in_shadow_mode"
    assert (await told("two=1", override=Override(0, Unit.DAY))).verdict == "over_limit"


async def test_rule_counter_and_limit() -> None:
    """The rule with its file and line, the counter's name, and what would be left."""
    explanation = await told("two=1")
    assert explanation.rule == "d.two"
    assert explanation.place == "rules-0.yaml:4"
    assert explanation.limit == "unit=MINUTE requests_per_unit=2, algorithm: fixed_window"
    assert explanation.counter.startswith("rl:{")
    assert (explanation.remaining, explanation.reset_s) == (1, 60)
    assert "place" not in (await told("three=1")).fields()


async def test_explaining_counts_nothing_and_names_the_real_counter() -> None:
    """The store is looked at, not drawn on; and it is the counter that requests use."""
    service = built(RULES)
    arguments = (service.limiter.rules, service.store, RateLimitSettings(), "d", one("two=1"))
    for _ in range(5):
        explanation = await explain(*arguments, now_us=T0_US)
        assert explanation.verdict == "ok"
    assert await service.codes("d", one("two=1"), times=3) == "..x"
    assert (await explain(*arguments, now_us=T0_US)).verdict == "over_limit"


def test_words() -> None:
    """A value may hold an equals sign and may be empty; a key may not be."""
    assert parse_entries(["a=b=c", "d", "e="]) == (("a", "b=c"), ("d", ""), ("e", ""))
    for words in (["=b"], [""], []):
        with pytest.raises(InvalidRequest):
            parse_entries(words)
