"""Names of counters."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ratelimit.keys import Part, counter_name

# Whatever could be taken for a separator, and ordinary letters.
texts = st.text(alphabet=st.sampled_from("ab_:{}\n\0 0123456789é|.*"), max_size=6)
parts = st.lists(st.builds(Part, texts, texts, st.booleans()), max_size=4)
counted = st.tuples(texts, texts, parts)


@given(counted, counted)
def test_different_descriptors_never_collide(
    one: tuple[str, str, list[Part]], other: tuple[str, str, list[Part]]
) -> None:
    """Two names are the same only for the same domain, way of counting and entries."""
    assert (counter_name("rl", *one) == counter_name("rl", *other)) == (one == other)


def test_the_collision_of_the_peer_is_gone() -> None:
    """Underscores in keys and values make no two descriptors alike."""
    names = {
        counter_name("rl", "d", "k", [Part("a", "b_c")]),
        counter_name("rl", "d", "k", [Part("a_b", "c")]),
        counter_name("rl", "d", "k", [Part("a", "b"), Part("c", "")]),
        counter_name("rl", "d_a", "k", [Part("b", "c")]),
        counter_name("rl", "d", "k", [Part("a", "b*", shared=True)]),
        counter_name("rl", "d", "k", [Part("a", "b*")]),
    }
    assert len(names) == 6


@given(counted)
def test_names_are_short_and_plain(one: tuple[str, str, list[Part]]) -> None:
    """Of fixed size, with one tag in braces that Redis Cluster understands."""
    assert re.fullmatch(r"rl:\{[0-9a-f]{8}\}:[0-9a-f]{32}", counter_name("rl", *one))


def test_a_megabyte_is_a_short_name() -> None:
    """The length of a value does not show in its name."""
    assert len(counter_name("rl", "d", "k", [Part("a", "x" * 1_000_000)])) == 46


def tag(name: str) -> str:
    """The part that decides the slot."""
    return name[name.index("{") : name.index("}")]


def test_what_begins_alike_lies_together() -> None:
    """All counters of one account have one tag; another account or domain has another."""
    account = Part("account", "a1")
    ours = {
        tag(counter_name("rl", "d", kind, [account, *more]))
        for kind, more in (("k", []), ("k", [Part("profile", "llm")]), ("other", []))
    }
    assert len(ours) == 1
    assert tag(counter_name("rl", "d", "k", [Part("account", "a2")])) not in ours
    assert tag(counter_name("rl", "d2", "k", [account])) not in ours


def test_a_domain_can_lie_together() -> None:
    """With one slot for the domain every counter of it has the same tag."""
    names = [
        counter_name("rl", "d", "k", [Part("account", f"a{number}")], tag_by_entry=False)
        for number in range(50)
    ]
    assert len({tag(name) for name in names}) == 1
    assert len(set(names)) == 50
