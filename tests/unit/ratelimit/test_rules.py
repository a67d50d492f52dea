"""Finding the rule of a descriptor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.keys import Part
from ratelimit.rule_files import load_texts
from ratelimit.rules import Domain, matches
from tests.unit.ratelimit.building import one, rules_of

RULES = """
domain: d
descriptors:
  - key: key1
    value: value1
    descriptors:
      - {key: sub, rate_limit: {unit: second, requests_per_unit: 5}}
      - {key: sub, value: special, rate_limit: {unit: second, requests_per_unit: 10}}
  - {key: key2, rate_limit: {unit: minute, requests_per_unit: 20}}
  - {key: key2, value: value2, rate_limit: {unit: minute, requests_per_unit: 30}}
  - {key: key2, value: free}
  - key: key5
    value: value5
    rate_limit: {unit: day, requests_per_unit: 15}
    descriptors:
      - {key: sub5, value: v, rate_limit: {unit: day, requests_per_unit: 25}}
  - {key: wild, value: a*, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: wild, value: a*z, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: wild, value: abc, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: wild, rate_limit: {unit: minute, requests_per_unit: 4}}
  - key: shared
    value: top/*
    share_threshold: true
    descriptors:
      - key: shared
        value: in/*
        share_threshold: false
        descriptors:
          - {key: kind, rate_limit: {unit: minute, requests_per_unit: 6}}
"""


@pytest.fixture
def domain() -> Domain:
    """The domain of the rules above."""
    return rules_of(RULES).domains["d"]


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (["key1=something"], None),
        (["key1=value1"], None),
        (["key1=value1", "sub=any"], 5),
        (["key1=value1", "sub=special"], 10),
        (["key1=other", "sub=any"], None),
        (["key2=any"], 20),
        (["key2="], 20),
        (["key2=value2"], 30),
        (["key2=free"], None),
        (["key2=value2", "sub=x"], None),
        (["key5=value5"], 15),
        (["key5=value5", "sub5=v"], 25),
        (["key5=value5", "sub5=w"], None),
        (["KEY2=any"], None),
        (["wild=abc"], 3),
        (["wild=axz"], 1),
        (["wild=b"], 4),
        (["wild=a*z"], 1),
        ([], None),
    ],
)
def test_the_most_specific_rule_of_each_level(
    domain: Domain, words: list[str], limit: int | None
) -> None:
    """Exact values win over patterns, the file's first pattern over later ones, patterns over
    none.
    """
    match = domain.match(one(*words))
    found = match.rule.limit.requests_per_unit if match and match.rule.limit else None
    assert found == limit


def test_shared_levels_are_named_by_their_pattern(domain: Domain) -> None:
    """Only the level that shares goes into the counter's name as its pattern."""
    match = domain.match(one("shared=top/1", "shared=in/2", "kind=x"))
    assert match is not None
    assert list(match.parts) == [
        Part("shared", "top/*", shared=True),
        Part("shared", "in/2"),
        Part("kind", "x"),
    ]
    assert match.label == "shared_top/*.shared_in/*.kind"


PARAMETERS = """
domain: d
descriptors:
  - key: account
    rate_limit: {unit: second, requests_per_unit: 5, algorithm: token_bucket}
    descriptors:
      - key: burst
        parameter: burst
        descriptors:
          - {key: quoted, parameter: quoted_hits}
"""


def test_parameters_are_no_part_of_the_counter() -> None:
    """With and without them the same counter is meant; their values are handed on."""
    domain = rules_of(PARAMETERS).domains["d"]
    plain = domain.match(one("account=a"))
    full = domain.match(one("account=a", "burst=9", "quoted=70"))
    assert plain is not None
    assert full is not None
    assert plain.parts == full.parts
    assert (full.burst, full.quoted_hits) == ("9", "70")
    assert full.rule is plain.rule
    assert full.label == "account"
    assert domain.match(one("account=a", "quoted=70")) is None


def naive(pattern: str, value: str) -> bool:
    """Wildcards by trying every way."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(naive(pattern[1:], value[at:]) for at in range(len(value) + 1))
    return bool(value) and value[0] == pattern[0] and naive(pattern[1:], value[1:])


@given(st.text("ab*", max_size=7).filter(lambda p: "*" in p), st.text("ab", max_size=9))
def test_wildcards_match_what_trying_every_way_matches(pattern: str, value: str) -> None:
    """Any number of stars anywhere, each for anything or nothing."""
    assert matches(tuple(pattern.split("*")), value) == naive(pattern, value)


def test_long_patterns_take_no_long_time() -> None:
    """A value made to send a wildcard matcher back and forth is answered at once."""
    pattern = tuple(("a*" * 200 + "b").split("*"))
    assert not matches(pattern, "a" * 100_000)


def test_every_rule_is_listed_once(domain: Domain) -> None:
    """For metrics and for the page of rules; parameters are none."""
    labels = [rule.label for _, rule in load_texts({"d.yaml": RULES}).rules()]
    named = "key1_value1.sub key1_value1.sub_special key2 key2_value2 key5_value5"
    more = "key5_value5.sub5_v shared_top/*.shared_in/*.kind wild wild_a* wild_a*z wild_abc"
    assert sorted(labels) == f"{named} {more}".split()
    parameters = load_texts({"d.yaml": PARAMETERS})
    assert [rule.label for _, rule in parameters.rules()] == ["account"]
