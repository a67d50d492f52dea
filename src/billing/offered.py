"""What is for sale, and what is no longer for sale but still has to be settled.

A changed configuration may take a route or a price version away while requests that were admitted
under it are on their way. Their tickets name both, so who settles goes on knowing what was taken
away until none of its reservations can be waiting any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from billing.catalog import Catalog, PriceBook

KEPT_S = 8 * 86_400.0
"""A day more than the longest lifetime that a route may give its reservations."""

MAX_KEPT = 1_000
"""Routes, and as many price versions; what was taken away first goes first."""


class Offered:
    """``catalog`` is the one in force with what was taken away. ``clock`` gives monotonic
    seconds."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        self.catalog = catalog
        self._clock = clock
        self._routes_since_s: dict[str, float] = {}
        self._versions_since_s: dict[str, float] = {}

    def offer(self, catalog: Catalog) -> None:
        """Put another catalog in force."""
        now_s, before = self._clock(), self.catalog
        versions_before = {found.version: found for found in before.prices.versions}
        versions = {found.version: found for found in catalog.prices.versions}
        self._routes_since_s = _kept(self._routes_since_s, before.routes, catalog.routes, now_s)
        self._versions_since_s = _kept(self._versions_since_s, versions_before, versions, now_s)
        routes = {name: before.routes[name] for name in self._routes_since_s}
        routes.update(catalog.routes)
        versions.update({name: versions_before[name] for name in self._versions_since_s})
        self.catalog = replace(catalog, routes=routes, prices=PriceBook(list(versions.values())))

    def charges_on_expiry(self, route_name: str) -> bool:
        """Whether a reservation of that route is charged when its entry never comes."""
        route = self.catalog.routes.get(route_name)
        return route is not None and route.on_expiry == "charge_quote"


def _kept(
    since_s: Mapping[str, float],
    before: Mapping[str, object],
    now: Mapping[str, object],
    now_s: float,
) -> dict[str, float]:
    """The names that were there before and are no more, each with when it was taken away."""
    gone = {name: since_s.get(name, now_s) for name in before if name not in now}
    young = sorted(
        (name for name, since in gone.items() if now_s - since < KEPT_S), key=gone.__getitem__
    )
    return {name: gone[name] for name in young[-MAX_KEPT:]}
