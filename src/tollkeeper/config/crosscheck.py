"""What one section of ``tollkeeper.yaml`` says about another: names that must exist and agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tollkeeper.config.document import Problem
from tollkeeper.config.schema import Config, RouteModel

_COUNTS_TOKENS = frozenset({"tokens", "reported"})
_READS_CALLS = frozenset({"compute_units", "flat"})


def crosscheck(config: Config) -> list[Problem]:
    """Every reference that leads nowhere, every pair that does not agree; empty if all is well."""
    problems = [*_repeated_profiles(config), *_plans(config), *_versions(config)]
    for name, route in config.routes.items():
        problems += [Problem(("routes", name, *p.key), p.text) for p in _route(config, route)]
    return [*problems, *_repeated_matches(config)]


def _route(config: Config, route: RouteModel) -> Iterator[Problem]:
    if route.upstream not in config.upstreams:
        yield Problem(("upstream",), f"no upstream {route.upstream!r}; {_one_of(config.upstreams)}")
    if route.profile not in config.profiles:
        yield Problem(("profile",), f"no profile {route.profile!r}; {_one_of(config.profiles)}")
    yield from _price(config, route) if route.charged else _free(route)
    if route.shape == "jsonrpc" and route.match.method not in {None, "POST"}:
        yield Problem(("match", "method"), "JSON-RPC is asked by POST")
    yield from _open(config, route)
    if route.token_limit is not None and route.meter not in _COUNTS_TOKENS:
        yield Problem(("token_limit",), f"the meter {route.meter} counts no tokens; remove it")
    if route.stream_usage == "require" and route.meter != "tokens":
        yield Problem(("stream_usage",), f"the meter {route.meter} needs no usage; remove it")


def _open(config: Config, route: RouteModel) -> Iterator[Problem]:
    """Authorization adds the credential and takes the client's key away; nobody else does."""
    upstream = config.upstreams.get(route.upstream)
    if route.failure.authorization == "open" and upstream and upstream.credential is not None:
        yield Problem(
            ("failure", "authorization"),
            f"unchecked requests would reach {route.upstream} with the client's key in the place "
            "of its credential; write closed",
        )


def _price(config: Config, route: RouteModel) -> Iterator[Problem]:
    if route.meter is None:
        yield Problem(("meter",), "is missing; add it, or say charged: false")
    if route.tariff is None:
        yield Problem(("tariff",), "is missing; add it, or say charged: false")
        return
    for version in config.prices:
        meter = version.meter_of(route.tariff)
        if meter is None:
            yield Problem(
                ("tariff",), f"price version {version.version} has no tariff {route.tariff!r}"
            )
        elif route.meter is not None and meter != route.meter:
            yield Problem(
                ("meter",),
                f"tariff {route.tariff!r} of price version {version.version} is for {meter}",
            )
    if route.meter == "compute_units" and route.shape != "jsonrpc":
        yield Problem(("shape",), "the meter compute_units counts calls; write shape: jsonrpc")
    if route.shape == "jsonrpc" and route.meter not in _READS_CALLS:
        yield Problem(("shape",), f"the meter {route.meter} does not read JSON-RPC; remove it")


def _free(route: RouteModel) -> Iterator[Problem]:
    for name in ("meter", "tariff"):
        if getattr(route, name) is not None:
            yield Problem((name,), "a route with charged: false has no price; remove it")
    if route.shape == "jsonrpc":
        yield Problem(("shape",), "a route with charged: false answers in JSON; remove it")


def _repeated_profiles(config: Config) -> Iterator[Problem]:
    for name, times in Counter(config.profiles).items():
        if times > 1:
            yield Problem(("profiles",), f"{name} stands {times} times; keep one")


def _plans(config: Config) -> Iterator[Problem]:
    for plan_name, plan in config.plans.items():
        for profile in plan.profiles:
            if profile not in config.profiles:
                yield Problem(
                    ("plans", plan_name, "profiles", profile),
                    f"no profile {profile!r}; {_one_of(config.profiles)}",
                )


def _versions(config: Config) -> Iterator[Problem]:
    names: set[str] = set()
    starts: set[int] = set()
    for i, version in enumerate(config.prices):
        if version.version in names:
            yield Problem(("prices", i, "version"), f"{version.version} stands twice; rename it")
        if version.effective_from in starts:
            yield Problem(("prices", i, "effective_from"), "two versions begin at this time")
        names.add(version.version)
        starts.add(version.effective_from)


def _repeated_matches(config: Config) -> Iterator[Problem]:
    seen: dict[object, str] = {}
    for name, route in config.routes.items():
        first = seen.setdefault(route.match, name)
        if first != name:
            yield Problem(("routes", name, "match"), f"route {first} takes the same requests")


def _one_of(names: object) -> str:
    assert isinstance(names, dict | tuple)
    return f"write one of {', '.join(map(str, names))}"
