"""The settings as the rate-limit service takes them, beside the other roles and alone."""

from __future__ import annotations

from dataclasses import replace

from pydantic import SecretStr

from billing.errors import ConfigError
from ratelimit.service import RateLimitTls
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings
from tollkeeper.settings import Settings
from tollkeeper.tls_files import RedisTls
from tollkeeper.wiring.tls import server_credentials


def ratelimit_settings(settings: Settings) -> RateLimitSettings:
    """Of the role beside the others; :class:`ConfigError` without any Redis."""
    url = settings.require_ratelimit_redis_url()
    return _values(settings, url, _clear(settings.ratelimit_redis_per_second_url))


def ratelimit_alone(
    settings: Settings,
    *,
    listen: str | None = None,
    http_listen: str | None = None,
    redis_url: str | None = None,
    redis_per_second_url: str | None = None,
) -> RateLimitSettings:
    """Of ``serve ratelimit --config``: what its command line says, else the variables.

    It has its own default addresses, never the hot copy's Redis, and counts in memory without any.
    Raises :class:`ConfigError` for a second Redis without a first one.
    """
    url = redis_url or _clear(settings.ratelimit_redis_url)
    second = redis_per_second_url or _clear(settings.ratelimit_redis_per_second_url)
    if second and not url:
        raise ConfigError("a Redis for limits per second needs one for the others: --redis URL")
    own, given = RateLimitSettings(), settings.model_fields_set
    if "ratelimit_listen" in given:
        own = replace(own, listen=str(settings.ratelimit_listen))
    if "ratelimit_metrics_listen" in given:
        own = replace(own, http_listen=str(settings.ratelimit_metrics_listen))
    return replace(
        _values(settings, url, second),
        listen=listen or own.listen,
        http_listen=http_listen or own.http_listen,
    )


def ratelimit_tls(settings: Settings) -> RateLimitTls:
    """TLS of the rate-limit service's two listeners."""
    pages_tls = settings.metrics_tls
    return RateLimitTls(
        server_credentials(settings.ratelimit_tls),
        {} if pages_tls is None else pages_tls.uvicorn_options(),
    )


def _values(settings: Settings, url: str, second_url: str) -> RateLimitSettings:
    return RateLimitSettings(
        listen=str(settings.ratelimit_listen),
        http_listen=str(settings.ratelimit_metrics_listen),
        redis=_redis(settings, url),
        redis_per_second=_redis(settings, second_url) if second_url else None,
        lane=LaneSettings(
            deadline_ms=settings.ratelimit_redis_deadline_ms,
            batch_requests_max=settings.ratelimit_batch_requests,
            waiting_requests_max=settings.ratelimit_waiting_requests,
        ),
        key_prefix=settings.ratelimit_key_prefix,
        on_failure=settings.ratelimit_on_failure,
        local_share=settings.ratelimit_local_share,
        all_or_nothing=settings.ratelimit_all_or_nothing,
        shadow_mode=settings.ratelimit_shadow_mode,
        quota_mode=settings.ratelimit_quota_mode,
        merge_domains=settings.ratelimit_merge_domains,
        near_limit_ratio=settings.ratelimit_near_limit_ratio,
        response_headers=settings.ratelimit_response_headers,
        header_limit=settings.ratelimit_header_limit,
        header_remaining=settings.ratelimit_header_remaining,
        header_reset=settings.ratelimit_header_reset,
        response_dynamic_metadata=settings.ratelimit_response_dynamic_metadata,
        memory_counters_max=settings.ratelimit_memory_counters,
        over_limit_cache_entries_max=settings.ratelimit_over_limit_counters,
        concurrent_requests_max=settings.ratelimit_concurrent_requests,
        drain_deadline_s=float(settings.drain_deadline_s),
    )


def _redis(settings: Settings, url: str) -> RedisSettings:
    files = settings.ratelimit_redis_tls or RedisTls()
    return RedisSettings(
        url=url,
        sentinel_password=_clear(settings.ratelimit_sentinel_password),
        tls_ca_file=files.ca,
        tls_certificate_file=files.certificate,
        tls_key_file=files.key,
        tls_verify_hostname=files.verify_hostname,
    )


def _clear(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
