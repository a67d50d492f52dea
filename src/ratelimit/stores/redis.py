"""Counters in one Redis server: on TCP or a Unix socket, over TLS, or the master that Sentinel
names.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Sequence
from typing import Any

from redis import asyncio as aredis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from ratelimit.algorithms import Group, Reading
from ratelimit.errors import SettingRefused, StoreUnavailable
from ratelimit.settings_values import LaneSettings, RedisSettings
from ratelimit.stores.lane import Answer, Lane, Server
from ratelimit.stores.redis_url import RedisAddress, parse_redis_url
from ratelimit.stores.script import Script, packed, unpacked


class RedisStore:
    """One server, or the master of a Sentinel service; all draws of a request in one script."""

    def __init__(
        self, settings: RedisSettings, lane: LaneSettings, script: Script, probe_key: str
    ) -> None:
        self._client = connected(parse_redis_url(settings.url), settings, lane)
        self._script = script
        self._probe_key = probe_key
        self.lane = Lane(Server("Redis", self._call, self._probe), lane)

    async def draw(self, group: Group) -> Sequence[Reading]:
        """See the protocol."""
        return await self.lane.draw(group)

    def lanes(self) -> Sequence[Lane]:
        """For metrics."""
        return (self.lane,)

    def state(self) -> str:
        """See the protocol."""
        return self.lane.state()

    async def warm_up(self) -> None:
        """Connect now, so that the first request does not have to."""
        await self.lane.warm_up()

    async def close(self) -> None:
        """See the protocol."""
        await self.lane.close()
        await disconnected(self._client)

    async def _call(self, groups: Sequence[Group]) -> Sequence[Answer]:
        try:
            return await run_script(self._client, self._script, groups)
        except Exception as error:
            raise await unavailable(self._client, error) from error

    async def _probe(self) -> None:
        await probe(self._client, self._probe_key)


async def run_script(
    client: aredis.Redis, script: Script, groups: Sequence[Group]
) -> Sequence[Sequence[Reading]]:
    """One call; a second when the server does not know the script yet, or no longer."""
    keys, batch = packed(groups)
    try:
        answer = await command(client, "EVALSHA", script.sha, len(keys), *keys, batch)
    except NoScriptError:
        answer = await command(client, "EVAL", script.text, len(keys), *keys, batch)
    return unpacked(groups, answer)


async def command(client: aredis.Redis, *words: str | int | bytes) -> Any:
    """One command's answer; the client's own method has no types."""
    execute: Any = client.execute_command
    return await execute(*words)


async def probe(client: aredis.Redis, key: str) -> None:
    """Raise :class:`StoreUnavailable` unless the server can be written to."""
    try:
        # A replica and a server that is loading both answer PING, and neither can count.
        await command(client, "SET", key, "1", "PX", "1000")
    except Exception as error:
        raise await unavailable(client, error) from error


async def unavailable(client: aredis.Redis, error: Exception) -> StoreUnavailable:
    """The fault in a word. A connection that leads to the wrong server is not used again."""
    if isinstance(error, struct.error):
        return StoreUnavailable("bad_answer", str(error))
    if not isinstance(error, (RedisError, OSError)):
        raise error
    text = f"{type(error).__name__}: {error}"
    if "READONLY" in text:
        await client.connection_pool.disconnect()
        return StoreUnavailable("read_only", text)
    known = {
        "ConnectionError": "connection",
        "TimeoutError": "deadline",
        "BusyLoadingError": "loading",
        "AuthenticationError": "authentication",
        "OutOfMemoryError": "out_of_memory",
        "MasterNotFoundError": "no_master",
    }
    fallback = "connection" if isinstance(error, OSError) else "refused"
    return StoreUnavailable(known.get(type(error).__name__, fallback), text)


def connected(address: RedisAddress, settings: RedisSettings, lane: LaneSettings) -> aredis.Redis:
    """A client for one server. It connects when it is first used."""
    options = connection_options(address, settings, lane)
    if address.kind == "sentinel":
        watched = {name: value for name, value in options.items() if name != "db"}
        watched |= {"username": None, "password": settings.sentinel_password or None}
        watched["socket_timeout"] = lane.probe_deadline_ms / 1000
        sentinel_of: Any = Sentinel
        sentinel = sentinel_of(list(address.nodes), sentinel_kwargs=watched, **options)
        master: aredis.Redis = sentinel.master_for(address.service, aredis.Redis)
        return master
    if address.path:
        return aredis.Redis(unix_socket_path=address.path, **options)
    host, port = address.nodes[0]
    return aredis.Redis(host=host, port=port, **options)


async def disconnected(client: aredis.Redis) -> None:
    """Close the client's connections, and those to the Sentinels that it asked."""
    await client.aclose()
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        sentinels: list[aredis.Redis] = pool.sentinel_manager.sentinels
        await asyncio.gather(*(each.aclose() for each in sentinels))


def connection_options(
    address: RedisAddress, settings: RedisSettings, lane: LaneSettings
) -> dict[str, Any]:
    """How every connection is made: no retries and no time limits of the client's own, since the
    lane has both, and no questions to the server beyond who we are."""
    options: dict[str, Any] = {
        "db": address.db,
        "username": settings.username or address.username or None,
        "password": settings.password or address.password or None,
        "socket_timeout": None,
        "socket_connect_timeout": lane.probe_deadline_ms / 1000,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if address.tls:
        options |= _tls_options(settings)
    return options


def _tls_options(settings: RedisSettings) -> dict[str, Any]:
    files = {
        "ssl_ca_certs": settings.tls_ca_file,
        "ssl_certfile": settings.tls_certificate_file,
        "ssl_keyfile": settings.tls_key_file,
    }
    for name, path in files.items():
        if path is not None and not path.is_file():
            raise SettingRefused(f"{name}: there is no file {path}")
    named = {name: str(path) for name, path in files.items() if path is not None}
    return {
        "ssl": True,
        "ssl_check_hostname": settings.tls_verify_hostname,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        **named,
    }
