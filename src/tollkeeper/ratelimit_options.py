"""The part of the settings that is the rate-limit service's: what operators can tell it.

Bounds that nobody has had to change stand in :mod:`ratelimit.settings_values`, with their reasons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, StringConstraints, model_validator

from tollkeeper.setting_types import RedisUrl
from tollkeeper.tls_files import RedisTls

RATELIMIT_SECRETS = (
    "ratelimit_redis_url",
    "ratelimit_redis_per_second_url",
    "ratelimit_sentinel_password",
)
HeaderName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=64)
]
"""A token of RFC 9110, section 5.6.2."""
KeyPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]


class RatelimitOptions(BaseModel):
    """Read from the variables ``TOLLKEEPER_RATELIMIT_...``."""

    # --- its Redis -------------------------------------------------------------------------------
    ratelimit_redis_url: RedisUrl | None = Field(
        None,
        description="Redis of the rate limits, redis+sentinel://host:port/name as well; redis_url "
        "where it is not set.",
    )
    ratelimit_redis_url_file: Path | None = Field(
        None, description="File that holds ratelimit_redis_url."
    )
    ratelimit_redis_per_second_url: RedisUrl | None = Field(
        None,
        description="Another Redis for limits per second, which are most of the traffic and need "
        "no persistence; with all others where it is not set.",
    )
    ratelimit_redis_per_second_url_file: Path | None = Field(
        None, description="File that holds ratelimit_redis_per_second_url."
    )
    ratelimit_sentinel_password: SecretStr | None = Field(
        None, description="For the Sentinels themselves; the URL's is for Redis."
    )
    ratelimit_sentinel_password_file: Path | None = Field(
        None, description="File that holds ratelimit_sentinel_password."
    )
    ratelimit_redis_tls: RedisTls | None = Field(
        None,
        description='Files for rediss:// of both: {"ca": PATH, "certificate": PATH, "key": PATH, '
        '"verify_hostname": true}; without a ca the system\'s authorities.',
    )
    ratelimit_redis_deadline_ms: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Longest wait for Redis in a rate limit, which Envoy waits 100 ms for.",
    )
    ratelimit_key_prefix: KeyPrefix = Field(
        "rl", description="Begins every counter's name, for a Redis that is shared with others."
    )

    # --- while Redis is away ---------------------------------------------------------------------
    ratelimit_on_failure: Literal["deny", "allow", "local", "error"] = Field(
        "local",
        description="The answer while Redis is away, where a domain's file says nothing: local "
        "(neither everybody out nor everybody in), deny, allow or error.",
    )
    ratelimit_local_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The part of a limit that one process gives out alone while Redis is away: a "
        "half, for the two of the smallest set-up that stays up.",
    )

    # --- how limits are judged -------------------------------------------------------------------
    ratelimit_all_or_nothing: bool = Field(
        False,
        description="Nothing is counted for a request that is over one of its limits, whatever a "
        "domain's file says; off, as at envoyproxy.",
    )
    ratelimit_shadow_mode: bool = Field(
        False, description="Count, and never refuse: to try limits out on live traffic."
    )
    ratelimit_quota_mode: bool = Field(
        False, description="Refuse only when every quota of a request is used up."
    )
    ratelimit_merge_domains: bool = Field(
        False, description="Several files may describe one domain; off, so that a copy is noticed."
    )
    ratelimit_near_limit_ratio: float = Field(
        0.8, gt=0, le=1, description="From which part of a limit hits count as near it, in metrics."
    )

    # --- what the answer says --------------------------------------------------------------------
    ratelimit_response_headers: bool = Field(
        False,
        description="Tell clients the limit, what remains and when it resets; off, because Envoy's "
        "own x-ratelimit-* headers can say it.",
    )
    ratelimit_header_limit: HeaderName = Field(
        "RateLimit-Limit", description="Name of the header with the limit."
    )
    ratelimit_header_remaining: HeaderName = Field(
        "RateLimit-Remaining", description="Name of the header with what remains."
    )
    ratelimit_header_reset: HeaderName = Field(
        "RateLimit-Reset", description="Name of the header with the seconds until the reset."
    )
    ratelimit_response_dynamic_metadata: bool = Field(
        False, description="Tell Envoy the descriptors and their limits as dynamic metadata."
    )

    # --- bounds ----------------------------------------------------------------------------------
    ratelimit_memory_counters: int = Field(
        100_000,
        ge=1,
        le=100_000_000,
        description="Counters in memory, without Redis or while it is away; 300 bytes each.",
    )
    ratelimit_over_limit_counters: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Counters remembered as over their limit, so that a flood costs no call; 0 for "
        "none.",
    )
    ratelimit_batch_requests: int = Field(
        128,
        ge=1,
        le=10_000,
        description="Most requests of one script call, which stops Redis for everybody: a "
        "millisecond.",
    )
    ratelimit_waiting_requests: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Requests that wait for one Redis; more than one process can answer in time.",
    )
    ratelimit_concurrent_requests: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Answers under way at once, above which RESOURCE_EXHAUSTED is said; grpc.aio "
        "alone. The direct transport takes 32 768 of each connection.",
    )

    @model_validator(mode="after")
    def _headers_differ(self) -> Self:
        names = (
            self.ratelimit_header_limit,
            self.ratelimit_header_remaining,
            self.ratelimit_header_reset,
        )
        if len({name.lower() for name in names}) != len(names):
            raise ValueError("ratelimit_header_limit, _remaining and _reset need three names")
        return self
