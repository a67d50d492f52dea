"""The batch that ``limits.lua`` reads, and the answers that it writes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from ratelimit.algorithms import Group, Reading

_GROUP = struct.Struct("<dd")
_DRAW = struct.Struct("<14d")
_READING = struct.Struct("<5d")


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
    """Every counter once, and the draws that name it by its number."""
    numbers: dict[str, int] = {}
    parts = []
    for group in groups:
        parts.append(_GROUP.pack(len(group.draws), group.mode))
        for draw in group.draws:
            number = numbers.setdefault(draw.key, len(numbers) + 1)
            parts.append(_DRAW.pack(number, *draw[1:14]))
    return Batch(list(numbers), b"".join(parts))


def unpacked(groups: Sequence[Group], answer: bytes) -> list[list[Reading]]:
    """The readings of each group. Raises :class:`struct.error` for an answer of another size."""
    if len(answer) != _READING.size * sum(len(group.draws) for group in groups):
        raise struct.error(f"an answer of {len(answer)} bytes does not fit the batch")
    readings = (
        Reading(over > 0, int(before), int(after), int(current), int(previous))
        for over, before, after, current, previous in _READING.iter_unpack(answer)
    )
    return [[next(readings) for _ in group.draws] for group in groups]
