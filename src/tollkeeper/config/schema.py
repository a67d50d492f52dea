"""What ``tollkeeper.yaml`` may say: gateway, upstreams, routes, plans, prices, rate limits.

Each field is one key of the file; docs/configuration.md is the page for people. Cross-references
between sections are checked in :mod:`tollkeeper.config.crosscheck`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from billing.catalog import (
    ExpiryPolicy,
    HoldPolicy,
    Meter,
    MissingUsagePolicy,
    Posture,
    Shape,
    SpoolPosture,
    StreamUsage,
    TokenQuote,
)
from billing.plans import Period
from billing.reservations import MAX_COUNTED
from tollkeeper.addresses import Address
from tollkeeper.config.scalars import HeaderName, Listen, Model, Name, Url, UrlPath, Usd
from tollkeeper.config.tariffs import PriceVersionModel

Owner = Literal["platform", "customer"]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
RateLimiting = Literal["service", "inline", "off"]
Answer = Literal["closed", "open"]

Milliseconds = Annotated[int, Field(ge=1, le=600_000)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNTED)]
FilePath = Annotated[Path, BeforeValidator(lambda v: Path(v) if isinstance(v, str) else v)]
MAX_BODY_BYTES = 64 << 20
"""Bodies that are read whole lie in Envoy's memory, once for each request in flight."""


class GatewayModel(Model):
    """Envoy itself: where it listens, how long it waits for us, how much it keeps."""

    listen: Listen = Address("127.0.0.1", 10000)
    max_connections: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    admin_listen: Listen = Address("127.0.0.1", 9901)
    trusted_hops: Annotated[int, Field(ge=0, le=16)] = 0
    authz_timeout_ms: Milliseconds = 1_000
    ratelimit_timeout_ms: Milliseconds = 100
    ratelimit_failure_mode_deny: bool = False
    response_buffer_bytes: Annotated[int, Field(ge=64 << 10, le=1 << 30)] = 16 << 20
    sse_max_event_bytes: Annotated[int, Field(ge=8 << 10, le=10 << 20)] = 1 << 20
    stream_log_interval_s: Annotated[int, Field(ge=1, le=600)] = 5
    access_log_flush_ms: Milliseconds = 200
    access_log_buffer_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = 64 << 20


class CredentialModel(Model):
    """The provider's credential: its header, what stands before the secret, where the secret is."""

    header: HeaderName = "authorization"
    prefix: Annotated[str, Field(max_length=64)] = ""
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")] | None = None
    file: FilePath | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError(
                "name the secret's environment variable (env) or its file, one of them"
            )
        return self


class UpstreamModel(Model):
    """A server behind the gateway, and who pays its provider."""

    url: Url
    owner: Owner = "platform"
    credential: CredentialModel | None = None
    connect_timeout_ms: Milliseconds = 1_000
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    idle_timeout_s: Annotated[int, Field(ge=1, le=3_600)] = 30
    ca_file: FilePath | None = None
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None
    http2: bool = False

    @model_validator(mode="after")
    def _has_both_files(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self


class MatchModel(Model):
    """Which requests a route takes: one method or all, one path or all paths below a prefix."""

    method: Method | None = None
    path: UrlPath | None = None
    prefix: UrlPath | None = None

    @model_validator(mode="after")
    def _has_one_path(self) -> Self:
        if (self.path is None) == (self.prefix is None):
            raise ValueError("name an exact path or a prefix, one of them")
        if self.prefix is not None and not self.prefix.endswith("/"):
            raise ValueError("a prefix ends with /, so that /admin does not take /administrator")
        return self


class TokenLimitModel(Model):
    """Tokens counted by the rate-limit service: the quote before, the difference after."""

    domain: Name = "tokens"
    count: Literal["total_tokens", "prompt_tokens", "completion_tokens"] = "total_tokens"
    quote: TokenQuote = "typical"


class FailureModel(Model):
    """What a route does while a part of ours is away; ``authorization`` is Envoy's own answer.

    ``spool`` is for the time in which the back door has no room; unset, it follows ``postgres``.
    """

    authorization: Answer = "closed"
    redis: Posture = "allowance"
    postgres: Posture = "allowance"
    spool: SpoolPosture | None = None

    @property
    def spool_posture(self) -> SpoolPosture:
        """A route that is closed without Postgres is closed without room for what it costs."""
        return self.spool or ("closed" if self.postgres == "closed" else "open")


class RouteModel(Model):
    """One route of the gateway; with ``charged: false`` a self-service route without a price."""

    match: MatchModel
    upstream: Name
    profile: Name
    meter: Meter | None = None
    tariff: Name | None = None
    charged: bool = True
    shape: Shape = "json"
    rewrite: UrlPath | None = None
    hold: HoldPolicy = "max"
    timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 600
    idle_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    lifetime_s: Annotated[int, Field(ge=1, le=604_800)] = 600
    max_body_bytes: Annotated[int, Field(ge=1 << 10, le=MAX_BODY_BYTES)] = 1 << 20
    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    missing_usage: MissingUsagePolicy = "review"
    on_expiry: ExpiryPolicy = "release"
    failure: FailureModel = FailureModel()
    ratelimit: RateLimiting = "service"
    token_limit: TokenLimitModel | None = None
    stream_usage: StreamUsage = "allow"


class LimitsModel(Model):
    """Bounds of a plan; what is left out is not bounded."""

    requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_in_flight: Count | None = None
    units_per_period: Count | None = None
    spend_per_period_usd: Usd | None = None
    spend_per_day_usd: Usd | None = None
    max_request_usd: Usd | None = None

    @model_validator(mode="after")
    def _burst_has_a_rate(self) -> Self:
        if self.burst is not None and self.requests_per_second is None:
            raise ValueError("burst needs requests_per_second")
        for name in ("spend_per_period_usd", "spend_per_day_usd"):
            if (getattr(self, name) or 0) > MAX_COUNTED:
                raise ValueError(f"{name} must be at most {MAX_COUNTED} nano-USD; leave it out")
        return self


class PlanModel(Model):
    """A plan: its period, its limits, and other limits for some profiles (they replace all)."""

    period: Period = "month"
    limits: LimitsModel = LimitsModel()
    profiles: dict[Name, LimitsModel] = Field(default_factory=dict)


class RateLimitModel(Model):
    """The rate-limit service: its directory of envoyproxy/ratelimit files, and its domain here."""

    directory: FilePath = Path("ratelimit.d")
    domain: Name = "tollkeeper"


class Config(Model):
    """The whole file, checked; paths in it are relative to the file and made whole on loading."""

    action_url: Annotated[str, Field(max_length=2_048)] = ""
    gateway: GatewayModel = GatewayModel()
    profiles: Annotated[tuple[Name, ...], Field(min_length=1)]
    upstreams: Annotated[dict[Name, UpstreamModel], Field(min_length=1)]
    routes: Annotated[dict[Name, RouteModel], Field(min_length=1)]
    plans: Annotated[dict[Name, PlanModel], Field(min_length=1)]
    prices: Annotated[tuple[PriceVersionModel, ...], Field(min_length=1)]
    ratelimit: RateLimitModel = RateLimitModel()
