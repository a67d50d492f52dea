"""The settings of the rate-limit service as one value; whoever starts it builds it.

Every limit has a unit in its name, a default with a reason beside it, and a metric for when it is
hit (:mod:`ratelimit.metrics`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ratelimit.errors import SettingRefused
from ratelimit.rules import OnFailure

# No cache, and no waiting at the end.
_MAY_BE_ZERO = {"over_limit_cache_entries_max", "drain_notice_s", "drain_deadline_s"}


@dataclass(frozen=True)
class RedisSettings:
    """How one Redis is reached.

    ``url`` is ``redis://[user:password@]host:port[/db]``, ``rediss://`` for TLS,
    ``unix:///path[?db=0]``, ``redis+sentinel://host:port,host:port/service[/db]``,
    ``redis+cluster://host:port,host:port``, or ``rediss+...`` for either with TLS. Empty for the
    store in memory.
    """

    url: str = ""
    username: str = ""  # these three win over what the URL says, so a secret can stay out of it
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    tls_ca_file: Path | None = None  # the system's authorities by default
    tls_certificate_file: Path | None = None  # a client certificate, where Redis asks for one
    tls_key_file: Path | None = None
    tls_verify_hostname: bool = True


@dataclass(frozen=True)
class LaneSettings:
    """How long and how much is waited for at one Redis server, and when it is left alone."""

    # Envoy's filter waits 20 ms by default; a Redis near by answers in well under one.
    deadline_ms: int = 10
    # One script call stops Redis for everybody: 128 requests take it about a millisecond.
    batch_requests_max: int = 128
    # Ten thousand waiting requests are more than one process can answer within the deadline.
    waiting_requests_max: int = 10_000
    # One lost packet is no outage; five faults in a row, with no answer between them, are.
    breaker_faults: int = 5
    # Tried so often while open: recovery is seen long before the two seconds that are promised.
    breaker_probe_interval_ms: int = 250
    # A probe may have to connect, and greet over TLS, before it can ask.
    probe_deadline_ms: int = 500


@dataclass(frozen=True)
class RateLimitSettings:
    """Everything that the service can be told."""

    # host:port or unix:path. Loopback by default: the service trusts whoever can reach it.
    listen: str = "127.0.0.1:8081"
    # /json, /rlconfig, /metrics, /livez, /readyz; empty for none.
    http_listen: str = "127.0.0.1:8080"
    redis: RedisSettings = field(default_factory=RedisSettings)
    # For limits per second; None keeps them with the others.
    redis_per_second: RedisSettings | None = None
    lane: LaneSettings = field(default_factory=LaneSettings)
    # Begins every counter's name, for a Redis that is shared with others.
    key_prefix: str = "rl"

    # Without Redis, or while it is away: one counter takes about 300 bytes.
    memory_counters_max: int = 100_000
    # The answer while Redis is away, where a domain's file says nothing: neither everybody out nor
    # everybody in.
    on_failure: OnFailure = "local"
    # The part of a limit that this process gives out alone while Redis is away: a half, for the
    # two processes of the smallest set-up that stays up.
    local_share: float = 0.5

    # Counters that are known to be over their limit, so a flood of one client costs no call.
    over_limit_cache_entries_max: int = 10_000
    # Other workers may give hits back, and files change: so nobody is kept out for longer than
    # this by what is only remembered.
    over_limit_cache_ttl_ms: int = 1000

    # Descriptors per domain whose rule and counter are remembered: five megabytes at most.
    placements_max: int = 10_000
    # Above every set of descriptors that a route can sensibly make of one request.
    descriptors_max: int = 1000
    # A value longer than all headers that Envoy accepts (60 KiB by default) is no honest client's.
    descriptor_size_max_bytes: int = 65_536
    # What gRPC accepts by default; a larger request is refused unread.
    request_size_max_bytes: int = 4_194_304
    # Answers under way at once, above which gRPC says RESOURCE_EXHAUSTED.
    concurrent_requests_max: int = 20_000

    # As in envoyproxy/ratelimit.
    near_limit_ratio: float = 0.8
    shadow_mode: bool = False
    quota_mode: bool = False
    merge_domains: bool = False
    all_or_nothing: bool = False  # for every domain, whatever its file says
    response_headers: bool = False
    header_limit: str = "RateLimit-Limit"
    header_remaining: str = "RateLimit-Remaining"
    header_reset: str = "RateLimit-Reset"
    response_dynamic_metadata: bool = False

    # Values of requests become labels only where a rule asks for it, and only so many in all: a
    # page of metrics with a thousand rules is still read in a tenth of a second.
    metric_values_max: int = 1000
    # Between looks at the directory when the system tells of no change (network file systems,
    # a directory that is swapped by a symbolic link).
    reload_poll_s: float = 2.0
    # Between saying NOT_SERVING and refusing calls: Envoy's health check comes every tenth of
    # a second.
    drain_notice_s: float = 0.3
    # For requests under way when the service is told to stop.
    drain_deadline_s: float = 5.0

    def __post_init__(self) -> None:
        """Raise :class:`SettingRefused` for what nothing can be built from."""
        whole = {**vars(self), **vars(self.lane)}
        for name, value in whole.items():
            if not name.endswith(("_max", "_ms", "_faults", "_bytes", "_s")):
                continue
            if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
                raise SettingRefused(f"{name} must be above 0, not {value}")
        for name, share in {"local_share": self.local_share, "near": self.near_limit_ratio}.items():
            if not 0 < share <= 1:
                raise SettingRefused(f"{name} must be above 0 and at most 1, not {share}")
