"""The settings as one value."""

from __future__ import annotations

import pytest

from ratelimit.errors import SettingRefused
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"lane": LaneSettings(deadline_ms=0)},
        {"lane": LaneSettings(breaker_faults=-1)},
        {"descriptors_max": 0},
        {"reload_poll_s": 0.0},
        {"drain_deadline_s": -1.0},
        {"local_share": 0.0},
        {"local_share": 1.5},
        {"near_limit_ratio": -0.1},
    ],
)
def test_what_nothing_can_be_built_from(wrong: dict[str, object]) -> None:
    """Is refused by its name."""
    with pytest.raises(SettingRefused):
        RateLimitSettings(**wrong)  # type: ignore[arg-type]


def test_defaults_are_in_order() -> None:
    """And the cache can be turned off, and the end be at once."""
    assert RateLimitSettings(drain_notice_s=0, drain_deadline_s=0).drain_deadline_s == 0
    assert RateLimitSettings().lane.deadline_ms == 10
    assert RateLimitSettings(over_limit_cache_entries_max=0).over_limit_cache_entries_max == 0


def test_secrets_do_not_show() -> None:
    """A password is in no log line that shows the settings."""
    settings = RateLimitSettings(redis=RedisSettings("redis://h:1", password="hush"))
    assert "hush" not in repr(settings)
