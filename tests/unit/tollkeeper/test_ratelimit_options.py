"""What operators tell the rate-limit service reaches it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from billing.errors import ConfigError
from ratelimit.rules import OnFailure
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings
from tests.unit.tollkeeper.example import default_settings
from tollkeeper.ratelimit_options import RatelimitOptions
from tollkeeper.settings import load_settings
from tollkeeper.wiring.ratelimit import ratelimit_alone, ratelimit_settings

ANOTHER: dict[str, Any] = {
    "on_failure": "deny",
    "local_share": 0.25,
    "all_or_nothing": True,
    "shadow_mode": True,
    "quota_mode": True,
    "merge_domains": True,
    "near_limit_ratio": 0.9,
    "response_headers": True,
    "header_limit": "X-Limit",
    "header_remaining": "X-Remaining",
    "header_reset": "X-Reset",
    "response_dynamic_metadata": True,
    "key_prefix": "mine",
    "memory_counters": 7,
    "over_limit_counters": 0,
    "concurrent_requests": 9,
}
HOT_REDIS = "redis://hot:1"
RENAMED = {
    "memory_counters": "memory_counters_max",
    "over_limit_counters": "over_limit_cache_entries_max",
    "concurrent_requests": "concurrent_requests_max",
}


def test_defaults_are_the_services_own() -> None:
    """Nobody gets another service because the settings stand between; it drains as the other roles
    do."""
    assert ratelimit_alone(load_settings()) == replace(RateLimitSettings(), drain_deadline_s=10.0)
    answers = RatelimitOptions.model_fields["ratelimit_on_failure"].annotation
    assert get_args(answers) == get_args(OnFailure)


@pytest.mark.parametrize("name", ANOTHER)
def test_each_setting_changes_what_it_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable, one value, and nothing beside it; in both ways of serving."""
    usual = default_settings().model_copy(update={"redis_url": SecretStr(HOT_REDIS)})
    monkeypatch.setenv(f"TOLLKEEPER_RATELIMIT_{name.upper()}", str(ANOTHER[name]))
    settings = load_settings(redis_url=HOT_REDIS)
    changed: dict[str, Any] = {RENAMED.get(name, name): ANOTHER[name]}
    assert ratelimit_alone(settings) == replace(ratelimit_alone(usual), **changed)
    assert ratelimit_settings(settings) == replace(ratelimit_settings(usual), **changed)


def test_every_choice_of_how_limits_are_judged_is_open() -> None:
    """A switch of the service that no variable turns would be found here."""
    switches = {f.name for f in fields(RateLimitSettings) if f.type == "bool"}
    assert switches <= ANOTHER.keys()


def test_bounds_of_the_wait_for_redis() -> None:
    """Deadline, batch and queue are those of the settings."""
    settings = load_settings(
        ratelimit_redis_deadline_ms=20, ratelimit_batch_requests=2, ratelimit_waiting_requests=3
    )
    assert ratelimit_alone(settings).lane == LaneSettings(
        deadline_ms=20, batch_requests_max=2, waiting_requests_max=3
    )


def test_both_redis_servers_take_files_and_secrets(tmp_path: Path) -> None:
    """The second one, the Sentinels' password and the TLS files come from variables, a secret from
    a file as well."""
    secret = tmp_path / "url"
    secret.write_text("rediss://fast:1\n")
    settings = load_settings(
        redis_url="redis://hot:1",
        ratelimit_redis_url="rediss+sentinel://s:1/main",
        ratelimit_redis_per_second_url_file=secret,
        ratelimit_sentinel_password="hush",
        ratelimit_redis_tls='{"ca": "/ca", "certificate": "/c", "key": "/k"}',
    )
    assert "hush" not in repr(settings)
    found = ratelimit_settings(settings)
    main = RedisSettings(
        "rediss+sentinel://s:1/main",
        sentinel_password="hush",
        tls_ca_file=Path("/ca"),
        tls_certificate_file=Path("/c"),
        tls_key_file=Path("/k"),
    )
    assert found.redis == main
    assert found.redis_per_second == replace(main, url="rediss://fast:1")


def test_the_command_line_goes_before_the_variables() -> None:
    """Alone the service never takes the hot copy's Redis for its own."""
    settings = load_settings(
        redis_url="redis://hot:1",
        ratelimit_redis_url="redis://variable:1",
        ratelimit_listen="127.0.0.1:1",
        ratelimit_metrics_listen="127.0.0.1:2",
    )
    found = ratelimit_alone(settings)
    assert (found.listen, found.http_listen) == ("127.0.0.1:1", "127.0.0.1:2")
    assert found.redis.url == "redis://variable:1"
    told = ratelimit_alone(
        settings,
        listen="127.0.0.1:3",
        redis_url="redis://option:1",
        redis_per_second_url="redis://second:1",
    )
    assert (told.listen, told.redis.url) == ("127.0.0.1:3", "redis://option:1")
    assert told.redis_per_second == RedisSettings("redis://second:1")
    assert ratelimit_alone(load_settings(redis_url="redis://hot:1")).redis.url == ""


def test_a_second_redis_needs_a_first() -> None:
    """It would be ignored: the counters are in memory then."""
    with pytest.raises(ConfigError, match="--redis URL"):
        ratelimit_alone(load_settings(), redis_per_second_url="redis://second:1")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("on_failure", "panic", "RATELIMIT_ON_FAILURE"),
        ("local_share", "0", "RATELIMIT_LOCAL_SHARE"),
        ("local_share", "1.5", "RATELIMIT_LOCAL_SHARE"),
        ("header_limit", "X Limit", "RATELIMIT_HEADER_LIMIT"),
        ("header_limit", "X-Limit\r\nx-evil: 1", "RATELIMIT_HEADER_LIMIT"),
        ("header_reset", "ratelimit-limit", "three names"),
        ("key_prefix", "a{b}", "RATELIMIT_KEY_PREFIX"),
        ("redis_tls", '{"certificate": "/c"}', "belong together"),
        ("redis_per_second_url", "http://fast:1", "rediss"),
    ],
)
def test_what_cannot_be_used_is_refused(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named before anything listens."""
    monkeypatch.setenv(f"TOLLKEEPER_RATELIMIT_{name.upper()}", value)
    with pytest.raises(ConfigError, match=told):
        load_settings()
