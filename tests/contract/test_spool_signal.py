"""The words of settlers about their spools, over a real Redis."""

import asyncio

import pytest

from billing.errors import StoreUnavailable
from billing.stores.redis_client import connect
from billing.stores.redis_signal import RedisSpoolSignal


async def test_the_word_holds_and_ends_by_itself(redis_url: str) -> None:
    """Another client hears it until it ends; said anew, it holds anew, and one with room is
    enough."""
    settler, worker = connect(redis_url, 1.0), connect(redis_url, 1.0)
    said, heard = RedisSpoolSignal(settler), RedisSpoolSignal(worker)
    assert not await heard.is_full()
    await said.say("one", full=True, for_s=60.0)
    await said.say("two", full=False, for_s=0.2)
    assert not await heard.is_full()
    async with asyncio.timeout(5):
        while not await heard.is_full():
            await asyncio.sleep(0.01)
    await said.say("one", full=True, for_s=0.05)
    assert await heard.is_full()
    async with asyncio.timeout(5):
        while await heard.is_full():
            await asyncio.sleep(0.01)
    await settler.aclose()
    await worker.aclose()


async def test_a_redis_that_is_away_is_said_so() -> None:
    """Both calls raise what callers know, within their deadline."""
    client = connect("redis://127.0.0.1:1/0", 0.2)
    signal = RedisSpoolSignal(client, 0.2)
    with pytest.raises(StoreUnavailable):
        await signal.say("one", full=True, for_s=1.0)
    with pytest.raises(StoreUnavailable):
        await signal.is_full()
    await client.aclose()
