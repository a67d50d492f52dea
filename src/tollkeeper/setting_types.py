"""Types of settings: addresses as text, and URLs that may hold a password."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr
from pydantic_settings import NoDecode

from tollkeeper.addresses import Address, parse_address, parse_addresses

REDIS_SCHEMES = frozenset(
    {
        "redis",
        "rediss",
        "unix",
        "redis+cluster",
        "rediss+cluster",
        "redis+sentinel",
        "rediss+sentinel",
    }
)
HOT_SCHEMES = frozenset(name for name in REDIS_SCHEMES if not name.endswith("+sentinel"))
"""Of the hot copy: its client follows one server or a Cluster, and asks no Sentinel."""
POSTGRES_SCHEMES = frozenset({"postgres", "postgresql"})


def _read_address(value: object) -> object:
    return parse_address(value) if isinstance(value, str) else value


def _read_addresses(value: object) -> object:
    return parse_addresses(value) if isinstance(value, str) else value


def _joined(addresses: tuple[Address, ...]) -> str:
    return ",".join(str(address) for address in addresses)


Listen = Annotated[Address, BeforeValidator(_read_address), PlainSerializer(str), NoDecode]
ListenRow = Annotated[
    tuple[Address, ...], BeforeValidator(_read_addresses), PlainSerializer(_joined), NoDecode
]


def _of_scheme(secret: SecretStr, schemes: frozenset[str]) -> SecretStr:
    if urlsplit(secret.get_secret_value()).scheme not in schemes:
        raise ValueError(f"write a URL that begins with one of {', '.join(sorted(schemes))}://")
    return secret


def _of_the_hot_copy(url: SecretStr) -> SecretStr:
    if urlsplit(url.get_secret_value()).scheme in REDIS_SCHEMES - HOT_SCHEMES:
        raise ValueError(
            "the hot copy cannot be found by Sentinel; name one server or a Cluster, and for the "
            "rate limits, which can, set TOLLKEEPER_RATELIMIT_REDIS_URL"
        )
    return _of_scheme(url, HOT_SCHEMES)


RedisUrl = Annotated[SecretStr, AfterValidator(lambda url: _of_scheme(url, REDIS_SCHEMES))]
HotRedisUrl = Annotated[SecretStr, AfterValidator(_of_the_hot_copy)]
PostgresDsn = Annotated[SecretStr, AfterValidator(lambda dsn: _of_scheme(dsn, POSTGRES_SCHEMES))]


def _collector(url: str) -> str:
    parts = urlsplit(url)
    whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port
    if not whole or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError("write http://host:port or https://host:port, of OTLP over gRPC")
    return url.rstrip("/")


OtlpEndpoint = Annotated[str, AfterValidator(_collector)]
