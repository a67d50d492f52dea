"""What meters are told and what they answer.

A meter is a pure pair of functions over these values and a tariff, so that re-rating an old request
with its price version gives the same amount. *Units* feed quotas; *nano-USD* feed the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from billing.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Ask:
    """What is known of a request before it runs.

    ``body_bytes`` is the length of the body (0 when unknown). ``model``, ``max_output_tokens``,
    ``choices`` and ``stream`` come from an LLM request; an ``object`` is whatever JSON value the
    client sent, still to be checked by the meter. ``calls`` maps a JSON-RPC method to how often the
    request calls it. ``requested`` holds further numbers that a client may ask for (``cpu_s``,
    ``memory_mib``).
    """

    body_bytes: int = 0
    model: object = None
    max_output_tokens: object = None
    choices: object = None
    stream: bool = False
    calls: Mapping[str, int] = field(default_factory=dict)
    requested: Mapping[str, object] = field(default_factory=dict)


class Quote(msgspec.Struct, frozen=True):
    """What a request may cost: nano-USD and units at least, typically and at most.

    ``basis`` is what the ticket carries to the back door so that ``cost`` can price what the entry
    alone does not say (the model, the calls of a batch): JSON scalars and small maps only.
    """

    min_nanos: int
    typical_nanos: int
    max_nanos: int
    min_units: int
    typical_units: int
    max_units: int
    basis: Mapping[str, object]

    def __post_init__(self) -> None:
        assert 0 <= self.min_nanos <= self.typical_nanos <= self.max_nanos, self
        assert 0 <= self.min_units <= self.typical_units <= self.max_units, self


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What the access-log entry says a request used.

    An ``object`` is what Envoy lifted out of the answer, still to be checked: usage may be
    negative, text, or missing (``None``). ``model`` is the model that answered. ``request_bytes``
    and ``response_bytes`` are the bodies, without headers. ``reported_cost`` is the text of the
    cost header. ``cpu_ms`` and ``memory_mib`` are what a tool backend reported; ``duration_ms`` is
    what Envoy measured, first byte in to last byte out. ``cut_short``: the client hung up before
    the answer had ended.
    """

    input_tokens: object = None
    cached_tokens: object = None
    output_tokens: object = None
    model: object = None
    request_bytes: int = 0
    response_bytes: int = 0
    duration_ms: int = 0
    cpu_ms: object = None
    memory_mib: object = None
    reported_cost: str | None = None
    cut_short: bool = False


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a request did cost.

    ``provider_cost_nanos`` is ``None`` where nobody knows it. ``formula`` is one line with its
    numbers, for ``tollkeeper explain``. ``review`` says why a person should look, or is empty.
    """

    price_nanos: int
    provider_cost_nanos: int | None
    units: int
    formula: str
    review: str = ""

    def __post_init__(self) -> None:
        assert self.price_nanos >= 0, self
        assert self.units >= 0, self
        assert self.provider_cost_nanos is None or self.provider_cost_nanos >= 0, self


@dataclass(frozen=True, slots=True)
class NoUsage:
    """The answer named no usable usage; ``reason`` says what was wrong (missing, negative...)."""

    reason: str


class Tariff(Protocol):
    """A named set of prices for one meter, from one version of the price book."""

    def quote(self, ask: Ask) -> Quote | Refusal:
        """What the request may cost, or why it cannot be priced."""

    def cost(self, basis: Mapping[str, object], usage: Usage) -> Cost | NoUsage:
        """What the request did cost, from the ticket's basis and the entry's usage."""
