"""What a caller asks, as values: built by :mod:`ratelimit.request`, read by everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ratelimit.units import Unit

Entry = tuple[str, str]  # key and value


class Override(NamedTuple):
    """The limit that the caller brings along, in place of the rule's."""

    requests_per_unit: int
    unit: Unit


class Descriptor(NamedTuple):
    """What is counted. ``hits`` of 0 asks without counting."""

    entries: tuple[Entry, ...]
    hits: int = 1
    override: Override | None = None


class LimitRequest(NamedTuple):
    """One question: may all of these be hit?"""

    domain: str
    descriptors: Sequence[Descriptor]
