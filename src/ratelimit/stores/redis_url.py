"""What a Redis URL says, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ratelimit.errors import SettingRefused

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
_FORMS = (
    "redis://host:port/db, rediss://, unix:///path, redis+sentinel://host:port,.../service, "
    "redis+cluster://host:port,..."
)
Kind = Literal["single", "sentinel", "cluster"]


@dataclass(frozen=True)
class RedisAddress:
    """Where a Redis is, and who we are there. For ``single`` one node, or a ``path``."""

    kind: Kind
    nodes: Sequence[tuple[str, int]] = ()
    path: str = ""
    service: str = ""  # the name of the master that Sentinel watches
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False


def parse_redis_url(url: str) -> RedisAddress:
    """Raises :class:`SettingRefused`, without repeating a password, for a form that is not
    known.
    """
    parts = urlsplit(url)
    scheme, _, form = parts.scheme.partition("+")
    if parts.scheme == "unix" and parts.path:
        username, password, _ = _authority(parts)
        db = parse_qs(parts.query).get("db", ["0"])[0]
        return RedisAddress("single", (), parts.path, "", _number(db), username, password)
    if scheme not in {"redis", "rediss"} or form not in {"", "cluster", "sentinel"}:
        raise SettingRefused(f"a Redis URL has one of the forms {_FORMS}")
    username, password, hosts = _authority(parts)
    port = DEFAULT_SENTINEL_PORT if form == "sentinel" else DEFAULT_PORT
    nodes = tuple(_node(host, port) for host in hosts.split(","))
    path = [piece for piece in parts.path.split("/") if piece]
    tls = scheme == "rediss"
    if form == "cluster":
        return RedisAddress("cluster", nodes, "", "", 0, username, password, tls)
    if form == "sentinel":
        if not path:
            raise SettingRefused("a redis+sentinel URL needs the service's name after the hosts")
        db = path[1] if len(path) > 1 else "0"
        return RedisAddress(
            "sentinel", nodes, "", unquote(path[0]), _number(db), username, password, tls
        )
    if len(nodes) != 1:
        raise SettingRefused("a redis URL has one host; for several say redis+cluster")
    db = path[0] if path else "0"
    return RedisAddress("single", nodes, "", "", _number(db), username, password, tls)


def _authority(parts: SplitResult) -> tuple[str, str, str]:
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    return unquote(username), unquote(password), hosts


def _node(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.strip().rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text.strip(), str(default_port)
    host = host.strip("[]")
    if not host:
        raise SettingRefused("a Redis URL needs a host")
    return host, _number(port)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise SettingRefused(f"expected a number in a Redis URL, not '{text[:40]}'")
    return int(text)
