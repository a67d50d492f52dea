"""Calls over connections that are kept, for what is called thousands of times a second.

The client of redis-py borrows a connection for each command, looks whether it is alive, measures,
and is ready to try again; that costs several times the call itself. Whoever calls here bounds the
time by itself, and retries are not wanted (:mod:`billing.stores.redis_client`).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - as its pool catches


class RedisLine:
    """Connections of a client's pool, as many as were ever in use at once; the pool closes them."""

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._idle: list[AbstractConnection] = []

    async def call(self, *command: Any) -> Any:
        """The answer to one command; Redis's errors as redis-py raises them.

        A connection whose call did not end well, for whatever reason, goes back to the pool
        disconnected: nobody shall read an answer that was meant for another.
        """
        connection = await self._take()
        try:
            packed = connection.pack_command(*command)
            await connection.send_packed_command(packed, check_health=False)
            answer = await connection.read_response(timeout=math.inf)
        except ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            await self._give_up(connection)
            raise
        self._idle.append(connection)
        return answer

    async def _take(self) -> AbstractConnection:
        while self._idle:
            connection = self._idle.pop()
            try:
                stale = await connection.can_read()
            except (OSError, ConnectionError):
                stale = True
            if not stale:
                return connection
            await self._give_up(connection)  # Redis ended it, perhaps to start anew
        # redis-py's own types end here.
        return await cast("Awaitable[AbstractConnection]", self._pool.get_connection())  # type: ignore[no-untyped-call]

    async def _give_up(self, connection: AbstractConnection) -> None:
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)
