"""The meter of requests that all cost the same (docs/pricing.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.meters.amounts import (
    PPM,
    ExactAmount,
    check_markup,
    check_price,
    check_sides,
    make_cost,
    make_quote,
)
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.refusals import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatTariff:
    """Nano-USD per request, whatever it does; one unit each.

    Nothing has to be known of the request or of its answer, so nothing is refused and usage is
    never missing.
    """

    nanos_per_request: int | None = None
    provider_nanos_per_request: int | None = None
    markup_ppm: int = PPM
    _quote: Quote | Refusal = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_sides("a flat tariff", self.nanos_per_request, self.provider_nanos_per_request)
        check_price("nanos_per_request", self.nanos_per_request)
        check_price("provider_nanos_per_request", self.provider_nanos_per_request)
        check_markup(self.markup_ppm)
        amount = self._amount()
        quote = make_quote(amount, amount, amount, (1, 1, 1), {})
        object.__setattr__(self, "_quote", quote)  # once: it is the same for every request

    def quote(self, ask: Ask) -> Quote | Refusal:  # noqa: ARG002 - the price is the same for all
        """The one price, at least, typically and at most."""
        return self._quote

    def cost(self, basis: Mapping[str, object], usage: Usage) -> Cost | NoUsage:  # noqa: ARG002 - the same
        """The one price again."""
        own, provider = self.nanos_per_request, self.provider_nanos_per_request
        return make_cost(self._amount(), 1, f"1 request x {provider if own is None else own}")

    def _amount(self) -> ExactAmount:
        return ExactAmount(
            own=self.nanos_per_request,
            provider=self.provider_nanos_per_request,
            markup_ppm=self.markup_ppm,
        )
