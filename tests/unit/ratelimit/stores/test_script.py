"""The batch that the script reads."""

from __future__ import annotations

import struct

import pytest

from ratelimit.algorithms import Group, Reading
from ratelimit.limits import Limit
from ratelimit.stores.script import limits_script, packed, unpacked
from ratelimit.units import Unit
from tests.unit.ratelimit.building import T0_US

LIMIT = Limit(5, Unit.MINUTE)


def test_every_key_once() -> None:
    """However often a counter is drawn on in a batch, it is named once."""
    groups = [Group([LIMIT.draw(key, 1, T0_US) for key in keys]) for keys in ("ab", "bca")]
    batch = packed(groups)
    assert [key.partition(":")[0] for key in batch.keys] == ["a", "b", "c"]
    assert len(batch.packed) == 2 * 16 + 5 * 14 * 8


def test_answers_go_back_to_their_groups() -> None:
    """In the order of the draws."""
    groups = [Group([LIMIT.draw("a", 1, T0_US)]), Group([LIMIT.draw("b", 1, T0_US)] * 2)]
    answer = b"".join(struct.pack("<5d", n == 1, n, n + 1, 0, 0) for n in range(3))
    readings = [Reading(n == 1, n, n + 1, 0, 0) for n in range(3)]
    assert unpacked(groups, answer) == [readings[:1], readings[1:]]


def test_an_answer_of_the_wrong_size() -> None:
    """Is a fault, never a wrong answer."""
    with pytest.raises(struct.error):
        unpacked([Group([LIMIT.draw("a", 1, T0_US)])], b"\0" * 39)


def test_the_script_lies_in_the_package() -> None:
    """With its contract at the top, and the name that Redis gives it."""
    script = limits_script()
    assert script.text.startswith("-- Draws on the counters")
    assert len(script.sha) == 40
