"""What a Redis URL says."""

from __future__ import annotations

import pytest

from ratelimit.errors import SettingRefused
from ratelimit.stores.redis_url import RedisAddress, parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", RedisAddress("single", (("h", 6379),))),
        ("redis://h:1/3", RedisAddress("single", (("h", 1),), db=3)),
        ("rediss://h:1", RedisAddress("single", (("h", 1),), tls=True)),
        ("redis://:p%40ss@h:1", RedisAddress("single", (("h", 1),), password="p@ss")),
        (
            "redis://u:p@[::1]:7/0",
            RedisAddress("single", (("::1", 7),), username="u", password="p"),
        ),
        ("redis://[::1]", RedisAddress("single", (("::1", 6379),))),
        ("unix:///run/r.sock", RedisAddress("single", path="/run/r.sock")),
        ("unix:///run/r.sock?db=2", RedisAddress("single", path="/run/r.sock", db=2)),
        (
            "redis+cluster://a:1,b:2,c",
            RedisAddress("cluster", (("a", 1), ("b", 2), ("c", 6379))),
        ),
        (
            "rediss+cluster://u:p@a:1",
            RedisAddress("cluster", (("a", 1),), username="u", password="p", tls=True),
        ),
        (
            "redis+sentinel://a:1,b/main/4",
            RedisAddress("sentinel", (("a", 1), ("b", 26379)), service="main", db=4),
        ),
    ],
)
def test_known_forms(url: str, expected: RedisAddress) -> None:
    """One server, a socket, a cluster, a service under Sentinel; with and without TLS."""
    assert parse_redis_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "h:6379",
        "http://h",
        "redis://",
        "redis://h:port",
        "redis://h/db",
        "redis://a:1,b:2",
        "redis+sentinel://a:1",
        "redis+magic://a:1",
        "unix://",
        "redis://h:123456",
    ],
)
def test_unknown_forms(url: str) -> None:
    """Are refused when the service starts."""
    with pytest.raises(SettingRefused):
        parse_redis_url(url)


def test_a_password_is_not_repeated() -> None:
    """Not even when the URL is wrong."""
    with pytest.raises(SettingRefused) as caught:
        parse_redis_url("redos://u:hush@h")
    assert "hush" not in str(caught.value)
