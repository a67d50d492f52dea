"""Clients of Redis: one server or a Cluster, by the address of the settings.

``redis://``, ``rediss://`` and ``unix://`` name one server; ``redis+cluster://`` any node of a
Cluster.
"""

from __future__ import annotations

import hashlib
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError  # noqa: A004 - Redis's own: its pool cleans up

CLUSTER_SCHEME = "redis+cluster://"
TLS_CLUSTER_SCHEME = "rediss+cluster://"

RedisClient = Redis | RedisCluster


def parse_run_id(info: bytes | str) -> str:
    """The run id out of Redis's INFO text; a new one with each start of the server."""
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "run_id":
            return value.strip()
    raise ConnectionError("Redis does not tell its run id")


class IdentityGuard:
    """Lets a connection be used only if it leads to the Redis that the epoch in force belongs to.

    So no request is ever decided by a copy that a restarted Redis read from an old dump. While
    ``expected`` is empty every Redis is let through; ``strange`` is the last one that was not.
    """

    def __init__(self) -> None:
        self.expected = ""
        self.strange = ""

    async def on_connect(self, connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        found = parse_run_id(await connection.read_response())
        if self.expected and found != self.expected:
            self.strange = found
            raise ConnectionError(f"Redis was restarted: run id {found}")


def connect(
    url: str, deadline_s: float, max_connections: int = 32, guard: IdentityGuard | None = None
) -> RedisClient:
    """A client that gives up connecting after ``deadline_s`` and never retries by itself.

    Retries belong to the caller: it knows whether asking twice is harmless and how long it may
    take. So do deadlines of calls (:mod:`billing.stores.redis_faults`): one for a call, where the
    client would set a timer for each message. A Cluster's client asks its nodes in the background
    as well, so there every message has one.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": deadline_s,
        "max_connections": max_connections,
    }
    if url.startswith((CLUSTER_SCHEME, TLS_CLUSTER_SCHEME)):
        options["socket_timeout"] = deadline_s
        return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
    options["socket_timeout"] = None
    if guard is not None:
        options["redis_connect_func"] = guard.on_connect
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)


async def identity(client: RedisClient) -> str:
    """Which running Redis this is: its run id, or a digest of those of all masters.

    A restart changes it, so a copy restored from an old dump is known for what it is.
    """
    if isinstance(client, RedisCluster):
        found = await client.info("server", target_nodes=RedisCluster.PRIMARIES)
        nodes = found.values() if "run_id" not in found else [found]
        run_ids = sorted(node["run_id"] for node in nodes)
        return hashlib.sha256(" ".join(run_ids).encode()).hexdigest()[:40]
    info = await client.info("server")
    return str(info["run_id"])
