"""What the settler goes on knowing after a change of the configuration."""

from __future__ import annotations

from billing.catalog import Catalog, ExpiryPolicy, PriceBook, PriceVersion, Route
from billing.meters.flat import FlatTariff
from billing.offered import KEPT_S, MAX_KEPT, Offered


class Clock:
    """Seconds that pass when told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def catalog(
    *routes: str, versions: tuple[str, ...] = ("v1",), on_expiry: ExpiryPolicy = "release"
) -> Catalog:
    """A catalog with these routes and price versions."""
    tariffs = {"ping": FlatTariff(nanos_per_request=1)}
    return Catalog(
        {name: Route(name, "up", "llm", "flat", "ping", on_expiry=on_expiry) for name in routes},
        {},
        PriceBook([PriceVersion(name, n, tariffs, name) for n, name in enumerate(versions)]),
    )


def test_what_was_taken_away_is_known_until_nothing_of_it_can_wait() -> None:
    """A route and a price version stay for longer than any reservation, and no longer."""
    clock = Clock()
    offered = Offered(catalog("a", "b", versions=("v1", "v2")), clock)
    offered.offer(catalog("b", versions=("v2",)))
    for waited_s, routes, versions in (
        (0.0, {"a", "b"}, {"v1", "v2"}),
        (KEPT_S - 1, {"a", "b"}, {"v1", "v2"}),
        (1.0, {"b"}, {"v2"}),
    ):
        clock.now_s += waited_s
        offered.offer(catalog("b", versions=("v2",)))
        assert set(offered.catalog.routes) == routes
        assert {found.version for found in offered.catalog.prices.versions} == versions


def test_what_is_in_force_is_as_the_newest_file_says() -> None:
    """A route that came back is the new one, and the price in force that of the newest file."""
    offered = Offered(catalog("a", versions=("v1", "v2")), Clock())
    offered.offer(catalog(versions=("v1",)))
    assert offered.catalog.routes["a"].on_expiry == "release"
    assert not offered.charges_on_expiry("a")
    offered.offer(catalog("a", on_expiry="charge_quote"))
    assert offered.charges_on_expiry("a")


def test_a_removed_route_charges_on_expiry_as_it_did() -> None:
    """Its reservations end as was promised when they were made."""
    offered = Offered(catalog("a", on_expiry="charge_quote"), Clock())
    offered.offer(catalog())
    assert offered.charges_on_expiry("a")
    assert not offered.charges_on_expiry("never there")


def test_what_is_kept_is_bounded() -> None:
    """However often routes get new names, only the last ones to go are known."""
    clock = Clock()
    offered = Offered(catalog(), clock)
    for n in range(3):
        clock.now_s += 1
        offered.offer(catalog(*[f"r{n}-{k}" for k in range(MAX_KEPT)]))
    assert {name[:2] for name in offered.catalog.routes} == {"r1", "r2"}
    assert len(offered.catalog.routes) == 2 * MAX_KEPT
