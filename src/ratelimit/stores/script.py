"""The batch that ``limits.lua`` reads, and the answers that it writes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from ratelimit.algorithms import Group, Outcome

_GROUP = struct.Struct("<dd")
_CHARGE = struct.Struct("<14d")
_OUTCOME = struct.Struct("<5d")


class Batch(NamedTuple):
    """The script's KEYS and its one argument."""

    keys: Sequence[str]
    packed: bytes


class Script(NamedTuple):
    """The text of ``limits.lua`` and the name that Redis knows it by."""

    text: str
    sha: str


def limits_script() -> Script:
    """Read from the package; once, by whoever opens a store."""
    text = files("ratelimit.stores").joinpath("limits.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def packed(groups: Sequence[Group]) -> Batch:
    """Every counter once, and the charges that name it by its number."""
    numbers: dict[str, int] = {}
    parts = []
    for group in groups:
        parts.append(_GROUP.pack(len(group.charges), group.mode))
        for charge in group.charges:
            number = numbers.setdefault(charge.key, len(numbers) + 1)
            parts.append(_CHARGE.pack(number, *charge[1:14]))
    return Batch(list(numbers), b"".join(parts))


def unpacked(groups: Sequence[Group], answer: bytes) -> list[list[Outcome]]:
    """The outcomes of each group. Raises :class:`struct.error` for an answer of another size."""
    if len(answer) != _OUTCOME.size * sum(len(group.charges) for group in groups):
        raise struct.error(f"an answer of {len(answer)} bytes does not fit the batch")
    outcomes = (
        Outcome(over > 0, int(before), int(after), int(current), int(previous))
        for over, before, after, current, previous in _OUTCOME.iter_unpack(answer)
    )
    return [[next(outcomes) for _ in group.charges] for group in groups]
