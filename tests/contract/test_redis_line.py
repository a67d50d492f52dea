"""Connections that are kept for the scripts of the hot copy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from billing.stores.redis_client import connect
from billing.stores.redis_line import RedisLine

DEADLINE_S = 5.0


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    found = connect(redis_url, DEADLINE_S)
    assert isinstance(found, Redis)
    async with found:
        yield found


async def test_an_error_of_redis_keeps_the_connection(client: Redis) -> None:
    """A command that Redis refuses is an answer like any other: the next one goes the same way."""
    line = RedisLine(client)
    first = await line.call("CLIENT", "ID")
    with pytest.raises(ResponseError):
        await line.call("HINCRBY", "a")
    assert await line.call("CLIENT", "ID") == first


async def test_a_connection_that_redis_ended_is_replaced(client: Redis) -> None:
    """Between two calls nobody notices the end of a connection."""
    line = RedisLine(client)
    first = await line.call("CLIENT", "ID")
    await client.client_kill_filter(_id=first)
    await asyncio.sleep(0.05)  # its end has to arrive
    assert await line.call("CLIENT", "ID") != first


async def test_a_connection_that_ends_during_a_call_is_told(client: Redis) -> None:
    """Whether the command was carried out is not known, so it is not sent again."""
    line = RedisLine(client)
    first = await line.call("CLIENT", "ID")
    waiting = asyncio.create_task(line.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0.05)
    await client.client_kill_filter(_id=first)
    with pytest.raises(RedisConnectionError):
        await asyncio.wait_for(waiting, DEADLINE_S)
    assert await line.call("PING") == b"PONG"


async def test_nobody_reads_the_answer_of_a_call_that_was_given_up(client: Redis) -> None:
    """A late answer ends with its connection: the next call gets its own."""
    line = RedisLine(client)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(line.call("BLPOP", "late", 0), 0.05)
    await client.rpush("late", "an answer that came late")
    assert await line.call("ECHO", "mine") == b"mine"


async def test_calls_at_once_have_connections_of_their_own(client: Redis) -> None:
    """As many connections as calls at once, and no more when they come again."""
    line = RedisLine(client)
    first = await asyncio.gather(*(line.call("CLIENT", "ID") for _ in range(4)))
    again = await asyncio.gather(*(line.call("CLIENT", "ID") for _ in range(4)))
    assert len(set(first)) == 4
    assert set(again) == set(first)
