"""What a request would cost, before anybody sends it: the same quote as at the front door."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from billing.catalog import Catalog, Route
from billing.meters.values import Ask, Quote
from billing.money import format_credits
from billing.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Estimated:
    """A quote in nano-USD and units; ``held_nanos`` is what would be reserved."""

    route: str
    meter: str
    price_version: str
    held_nanos: int
    min_nanos: int
    typical_nanos: int
    max_nanos: int
    min_units: int
    typical_units: int
    max_units: int
    explanation: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no price: a code of the front door's table, and a sentence."""

    code: str
    message: str


def estimate(catalog: Catalog, route_name: str, ask: Ask, now: datetime) -> Estimated | Refused:
    """Quote a request by the tariff and the price version in force."""
    route = catalog.routes.get(route_name)
    if route is None:
        return Refused("unknown_route", f"no route {route_name!r} is in force")
    if not route.charged:
        return _free(route)
    price = catalog.prices.at(now.timestamp())
    if price is None or route.tariff not in price.tariffs:
        return Refused("no_price", f"no price of {route.tariff!r} is in force")
    quote = price.tariffs[route.tariff].quote(ask)
    if isinstance(quote, Refusal):
        return Refused(quote.kind.code, quote.reason or quote.kind.message)
    return _estimated(route, price.version, quote)


def _estimated(route: Route, version: str, quote: Quote) -> Estimated:
    held = {"min": quote.min_nanos, "typical": quote.typical_nanos, "max": quote.max_nanos}
    held_nanos = held[route.hold]
    return Estimated(
        route.name,
        route.meter,
        version,
        held_nanos,
        quote.min_nanos,
        quote.typical_nanos,
        quote.max_nanos,
        quote.min_units,
        quote.typical_units,
        quote.max_units,
        f"meter {route.meter}, tariff {route.tariff} of price version {version}: "
        f"{format_credits(quote.min_nanos)} to {format_credits(quote.max_nanos)} credits, "
        f"typically {format_credits(quote.typical_nanos)}; the route holds the {route.hold}, "
        f"{format_credits(held_nanos)} credits, until the real cost is known",
    )


def _free(route: Route) -> Estimated:
    said = "a self-service route: nothing is held and nothing is charged"
    return Estimated(route.name, "none", "", 0, 0, 0, 0, 0, 0, 0, said)
