"""Counts as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extauthz.metrics import DoorCollector
from tests.unit.extauthz.front_door import FrontDoor, envoy_check, make_front_door, make_key


def scrape(door: FrontDoor) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    directory = door.door.directory
    registry.register(DoorCollector(door.counts, door.directory_counts, directory.state))
    text = generate_latest(registry).decode()
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_what_happened_can_be_scraped() -> None:
    """Decisions, their time, look-ups, queries, entries: all as they were."""
    door = make_front_door()
    key = door.customer()
    for wire in (envoy_check("ping", key), envoy_check("ping", key), envoy_check("ping")):
        await door.check(wire)
    await door.check(envoy_check("made-up", make_key(404)))
    found = scrape(door)
    assert found["tollkeeper_authz_checks_total", (("code", "allowed"), ("route", "ping"))] == 2
    assert (
        found["tollkeeper_authz_checks_total", (("code", "unknown_route"), ("route", "unknown"))]
        == 1
    )
    assert found["tollkeeper_authz_check_duration_seconds_count", ()] == 4
    assert found["tollkeeper_authz_check_duration_seconds_bucket", (("le", "+Inf"),)] == 4
    assert found["tollkeeper_authz_key_lookups_total", (("kind", "hit"),)] == 1
    assert found["tollkeeper_authz_key_lookups_total", (("kind", "miss"),)] == 1
    assert found["tollkeeper_authz_key_queries_total", (("kind", "answered"),)] == 1
    assert found["tollkeeper_authz_directory_entries", (("kind", "known"),)] == 1
    assert found["tollkeeper_authz_directory_evictions_total", (("kind", "known"),)] == 0
    assert found["tollkeeper_authz_changes_total", (("kind", "lost"),)] == 1
    assert found["tollkeeper_authz_directory_away", ()] == 0
    assert found["tollkeeper_authz_checks_in_flight", ()] == 0


async def test_buckets_hold_what_took_no_longer() -> None:
    """A check that took 3 ms is in the buckets from 5 ms on, and in the sum."""
    door = make_front_door()
    door.counts.decided("ping", "allowed", 0.003)
    found = scrape(door)
    name = "tollkeeper_authz_check_duration_seconds_bucket"
    assert found[name, (("le", "0.0025"),)] == 0
    assert found[name, (("le", "0.005"),)] == 1
    assert found["tollkeeper_authz_check_duration_seconds_sum", ()] == 0.003


async def test_no_client_makes_a_label() -> None:
    """Whatever routes, keys and models clients name, the series stay the same."""
    door = make_front_door()
    await door.check(envoy_check("x", "y"))
    before = set(scrape(door))
    for number in range(50):
        await door.check(envoy_check(f"route-{number}", make_key(number)))
    assert set(scrape(door)) == before
