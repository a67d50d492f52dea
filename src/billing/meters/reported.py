"""The meter of upstreams that name their own cost in a header (docs/pricing.md).

The header is a decimal number of USD, such as LiteLLM's ``x-litellm-response-cost``: ``0.000415``
or, as Python writes small floats, ``1.5e-05``. It is read digit by digit, never as a float; what is
finer than a nano-USD is kept until the one rounding. It is the provider's cost, and the price is
that cost times the markup.

Before the request nobody knows the cost: what is quoted are settings of the tariff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from billing.meters.amounts import (
    MAX_UNITS,
    PPM,
    ExactAmount,
    check_markup,
    check_setting,
    make_cost,
)
from billing.meters.readings import Exact, Unreadable, read_exact, read_whole
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS, NANOS_PER_USD, format_usd
from billing.refusals import Refusal

UNREADABLE_TOKENS = "unreadable_tokens"
"""``Cost.review`` of a request whose cost is known but whose token counts make no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTariff:
    """The markup on what the upstream reports, and what to quote before it does.

    ``min_nanos``, ``typical_nanos`` and ``max_nanos`` are prices, the markup included; the units
    beside them are tokens, or requests where the upstream reports no tokens.
    ``max_reported_nanos`` is the highest cost that is believed: more is taken for a fault of the
    upstream and left to a person (1 000 USD, far above any single answer).
    """

    typical_nanos: int
    max_nanos: int
    min_nanos: int = 0
    markup_ppm: int = PPM
    min_units: int = 1
    typical_units: int = 1
    max_units: int = 1
    max_reported_nanos: int = 1_000 * NANOS_PER_USD

    def __post_init__(self) -> None:
        check_markup(self.markup_ppm)
        check_setting("max_reported_nanos", self.max_reported_nanos, 0, MAX_NANOS)
        check_setting("max_nanos", self.max_nanos, 0, MAX_NANOS)
        check_setting("typical_nanos", self.typical_nanos, 0, self.max_nanos)
        check_setting("min_nanos", self.min_nanos, 0, self.typical_nanos)
        check_setting("max_units", self.max_units, 1, MAX_UNITS)
        check_setting("typical_units", self.typical_units, 0, self.max_units)
        check_setting("min_units", self.min_units, 0, self.typical_units)

    def quote(self, ask: Ask) -> Quote | Refusal:  # noqa: ARG002 - nothing of it bounds the cost
        """What the tariff says that requests cost."""
        return Quote(
            self.min_nanos,
            self.typical_nanos,
            self.max_nanos,
            self.min_units,
            self.typical_units,
            self.max_units,
            {},
        )

    def cost(self, basis: Mapping[str, object], usage: Usage) -> Cost | NoUsage:  # noqa: ARG002
        """The reported cost times the markup.

        ``NoUsage`` for a header that is missing, negative, no decimal number, or above
        ``max_reported_nanos``. Token counts only make the units: unreadable ones do not hold up the
        price, they are left to a person.
        """
        reported_usd = read_exact("reported cost", usage.reported_cost)
        if isinstance(reported_usd, Unreadable):
            return NoUsage(reported_usd.reason)
        if reported_usd.above(self.max_reported_nanos, NANOS_PER_USD):
            limit = format_usd(self.max_reported_nanos)
            return NoUsage(f"reported cost is above {limit} USD")
        work = f"{reported_usd} USD reported x {NANOS_PER_USD}"
        units = _tokens(usage)
        if isinstance(units, Unreadable):
            return make_cost(self._amount(reported_usd), 1, work, UNREADABLE_TOKENS)
        return make_cost(self._amount(reported_usd), units, work)

    def _amount(self, usd: Exact) -> ExactAmount:
        return ExactAmount(
            own=None,
            provider=usd.numerator * NANOS_PER_USD,
            denominator=usd.denominator,
            markup_ppm=self.markup_ppm,
        )


def _tokens(usage: Usage) -> int | Unreadable:
    """Input and output tokens as far as they are given; a request counts as one unit at least."""
    total = 0
    for name, value in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        count = 0 if value is None else read_whole(f"{name} tokens", value)
        if isinstance(count, Unreadable):
            return count
        total += count
    return max(total, 1)
