"""Price and provider's cost of one request, exact until the one rounding.

A tariff knows its own prices, the provider's, or both. The price comes from its own where it has
them, else it is the provider's cost times the markup. Both amounts are kept as numerators over one
denominator and each is rounded once, upwards, by :func:`billing.money.ceil_div`: the price is never
computed from a cost that was rounded already.

Nothing here yields more than ``MAX_NANOS`` or ``MAX_UNITS``: a quote beyond them is refused, a cost
beyond them is no usable usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from billing.errors import ConfigError
from billing.meters.readings import scaled
from billing.meters.values import Cost, NoUsage, Quote
from billing.money import MAX_NANOS, ceil_div
from billing.refusals import Refusal, refuse

PPM = 1_000_000
"""A markup of 1: the price is the provider's cost."""

MAX_MARKUP_PPM = 1_000 * PPM
MAX_UNITS = 2**62
"""Largest number of units of one request: like ``MAX_NANOS``, half of ``bigint``."""

PRICE_BELOW_COST = "price_below_cost"
"""``Cost.review`` of a request that was sold for less than the provider takes for it."""


class ExactAmount(NamedTuple):
    """What a request costs before rounding: numerators of nano-USD over one ``denominator``.

    ``own`` is ``None`` without own prices, ``provider`` without the provider's; one is known.
    """

    own: int | None
    provider: int | None
    denominator: int = 1
    markup_ppm: int = PPM

    def price_nanos(self) -> int:
        """What the customer pays, rounded up once."""
        if self.own is not None:
            return ceil_div(self.own, self.denominator)
        assert self.provider is not None, "a tariff has own prices or the provider's"
        return ceil_div(self.provider * self.markup_ppm, self.denominator * PPM)

    def provider_cost_nanos(self) -> int | None:
        """What the provider takes, rounded up once; ``None`` where nobody knows it."""
        return None if self.provider is None else ceil_div(self.provider, self.denominator)


def make_quote(
    least: ExactAmount,
    typical: ExactAmount,
    most: ExactAmount,
    units: tuple[int, int, int],
    basis: Mapping[str, object],
) -> Quote | Refusal:
    """Round the three amounts; what the ledger could not hold is ``request_too_expensive``."""
    most_nanos = most.price_nanos()
    if most_nanos > MAX_NANOS or units[2] > MAX_UNITS:
        reason = "its highest possible price is beyond what the ledger can hold"
        return refuse("request_too_expensive", reason, limit_nanos=MAX_NANOS)
    return Quote(least.price_nanos(), typical.price_nanos(), most_nanos, *units, basis)


def make_cost(amount: ExactAmount, units: int, work: str, review: str = "") -> Cost | NoUsage:
    """Round price and provider's cost, and write down how they came about.

    ``work`` is the formula up to the markup. A price below a known provider's cost is marked for
    review, behind what ``review`` says already (reasons are separated by a comma and a space).
    """
    price, provider_cost = amount.price_nanos(), amount.provider_cost_nanos()
    if max(price, provider_cost or 0) > MAX_NANOS or units > MAX_UNITS:
        return NoUsage("the usage costs more than the ledger can hold")
    reviews = [review] if review else []
    formula = work
    if amount.own is None:
        formula += f" x markup {_markup(amount.markup_ppm)}"
    formula += f" = {price} nano-USD"
    if provider_cost is not None:
        formula += f"; provider's cost {provider_cost}"
        reviews += [PRICE_BELOW_COST] if price < provider_cost else []
    return Cost(price, provider_cost, units, formula, ", ".join(reviews))


@lru_cache(maxsize=1024)  # a price book has a few
def _markup(markup_ppm: int) -> str:
    return scaled(markup_ppm, 6)


def check_setting(name: str, value: object, low: int, high: int) -> None:
    """Raise :class:`ConfigError` unless the setting is an integer from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, not {value!r}")


def check_price(name: str, value: object) -> None:
    """Raise :class:`ConfigError` unless the price is an integer of nano-USD, or left out."""
    if value is not None:
        check_setting(name, value, 0, MAX_NANOS)


def check_sides(name: str, own: object, provider: object) -> None:
    """Raise :class:`ConfigError` unless own prices or the provider's are there."""
    if own is None and provider is None:
        raise ConfigError(f"{name} has neither a price of its own nor the provider's")


def check_markup(markup_ppm: object) -> None:
    """Raise :class:`ConfigError` unless the markup lies above 0 and up to 1000."""
    check_setting("markup_ppm", markup_ppm, 1, MAX_MARKUP_PPM)
