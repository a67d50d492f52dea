"""What is for sale: routes, plans and the price book, compiled once per change of configuration.

These are plain values. ``tollkeeper.config`` reads them from ``tollkeeper.yaml``; the doors only
look things up here, so a request does no work that a change of configuration could have done.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from billing.meters.values import Tariff
from billing.plans import Plan

Meter = Literal["tokens", "compute_units", "duration", "flat", "reported"]
HoldPolicy = Literal["min", "typical", "max"]
Posture = Literal["closed", "allowance", "open"]
SpoolPosture = Literal["closed", "open"]
MissingUsagePolicy = Literal["review", "charge_quote"]
ExpiryPolicy = Literal["release", "charge_quote"]
Shape = Literal["json", "jsonrpc"]
TokenQuote = Literal["none", "min", "typical", "max"]
StreamUsage = Literal["allow", "require"]


@dataclass(frozen=True, slots=True)
class Credential:
    """The provider's credential: the header that carries it and its whole value."""

    header: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the gateway; its ``name`` is all that Envoy has to carry.

    ``lifetime_s`` bounds how long a reservation waits for its access-log entry. ``max_calls``
    bounds a JSON-RPC batch, ``max_body_bytes`` a body. ``charged`` is False for self-service
    routes, which authenticate and hold nothing. ``token_quote`` says how much of a quote a token
    limit takes in advance, ``None`` that the route has no such limit. ``stream_usage`` says whether
    a stream must ask for its usage. ``spool_posture`` says whether new requests pass while what
    they cost cannot be recorded.
    """

    name: str
    upstream: str
    profile: str
    meter: Meter
    tariff: str
    shape: Shape = "json"
    needs_body: bool = False
    hold: HoldPolicy = "max"
    lifetime_s: int = 600
    max_body_bytes: int = 1 << 20
    max_calls: int = 1000
    missing_usage: MissingUsagePolicy = "review"
    on_expiry: ExpiryPolicy = "release"
    redis_posture: Posture = "allowance"
    postgres_posture: Posture = "allowance"
    spool_posture: SpoolPosture = "open"
    inline_ratelimit: bool = False
    charged: bool = True
    credential: Credential | None = None
    token_quote: TokenQuote | None = None
    stream_usage: StreamUsage = "allow"


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """One effective-dated version of the price book; never changed once it is in force.

    ``digest`` is the SHA-256 of its canonical text: the same version with another digest is
    refused.
    """

    version: str
    effective_from_s: int
    tariffs: Mapping[str, Tariff]
    digest: str


class PriceBook:
    """All versions, ordered by the time from which they apply."""

    def __init__(self, versions: Sequence[PriceVersion]) -> None:
        self._ordered = sorted(versions, key=lambda v: v.effective_from_s)
        self._starts = [v.effective_from_s for v in self._ordered]
        self._by_name = {v.version: v for v in self._ordered}
        assert len(self._by_name) == len(self._ordered), "price versions are unique"

    @property
    def versions(self) -> Sequence[PriceVersion]:
        return tuple(self._ordered)

    def at(self, now_s: float) -> PriceVersion | None:
        """The version in force at a time; ``None`` before the first."""
        found = bisect_right(self._starts, now_s)
        return self._ordered[found - 1] if found else None

    def named(self, version: str) -> PriceVersion | None:
        """The version of that name, in force or not."""
        return self._by_name.get(version)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything for sale, by name; replaced whole when the configuration changes."""

    routes: Mapping[str, Route]
    plans: Mapping[str, Plan]
    prices: PriceBook
    action_url: str = ""
