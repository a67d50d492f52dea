"""One behavioural suite over every store of counters: memory, Redis on TCP and on a Unix
socket, and a Redis Cluster of three masters.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings

from devstack import Redis
from devstack.resp import ask
from ratelimit.algorithms import STEP_BACK_MAX_US, Algorithm, Group, Mode, Reading, Role
from ratelimit.limits import HITS_MAX, Limit
from ratelimit.settings_values import LaneSettings, RateLimitSettings, RedisSettings
from ratelimit.stores.opening import OpenStore, open_store
from ratelimit.stores.protocol import CounterStore
from ratelimit.units import SECOND_US, Unit
from tests.unit.ratelimit import asking
from tests.unit.ratelimit.reference_model import ReferenceModel

# Long enough for a machine that does a hundred other things; deadlines have tests of their own.
LANE = LaneSettings(deadline_ms=5_000, probe_deadline_ms=10_000)
T0_US = 1_700_000_000 * SECOND_US - 1_700_000_000 * SECOND_US % (60 * SECOND_US)
ALGORITHMS = {
    "fixed_window": Limit(3, Unit.MINUTE),
    "sliding_window": Limit(3, Unit.MINUTE, Algorithm.SLIDING_WINDOW, count_refused=False),
    "token_bucket": Limit(3, Unit.MINUTE, Algorithm.TOKEN_BUCKET, count_refused=False),
}
_names = (f"{{n{number}}}" for number in itertools.count())


def opened(url: str) -> OpenStore:
    """A store with patient deadlines."""
    return open_store(RateLimitSettings(redis=RedisSettings(url), lane=LANE))


@pytest.fixture(params=["memory", "redis", "unix_socket", "cluster"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn; the servers start when they are first asked for."""
    if request.param == "memory":
        return ""
    if request.param == "cluster":
        cluster = request.getfixturevalue("redis_cluster")
        return "redis+cluster://" + ",".join(node.address for node in cluster.nodes)
    server = request.getfixturevalue("redis_server")
    return str(server.url) if request.param == "redis" else f"unix://{server.socket_path}"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[CounterStore]:
    """Counters of one test have names of their own, so nothing is flushed."""
    open_one = opened(store_url)
    await open_one.warm_up()
    yield open_one.store
    await open_one.store.close()


@pytest.fixture(params=sorted(ALGORITHMS))
def limit(request: pytest.FixtureRequest) -> Limit:
    """Three per minute, by each algorithm."""
    return ALGORITHMS[request.param]


async def hit(
    store: CounterStore, limit: Limit, name: str, hits: int = 1, at_us: int = T0_US
) -> Reading:
    """One draw by itself."""
    (reading,) = await store.draw(Group([limit.draw(name, hits, at_us)]))
    return reading


async def test_a_limit_passes_what_it_says(store: CounterStore, limit: Limit) -> None:
    """Three pass and the fourth is over, by every algorithm in every store."""
    name = next(_names)
    assert [(await hit(store, limit, name)).over for _ in range(4)] == [False] * 3 + [True]
    assert not (await hit(store, limit, next(_names))).over


async def test_asking_without_hits_counts_nothing(store: CounterStore, limit: Limit) -> None:
    """A hits_addend of 0 sees what is used and leaves it so."""
    name = next(_names)
    await hit(store, limit, name, 2)
    for _ in range(5):
        reading = await hit(store, limit, name, 0)
        assert (reading.over, reading.before) == (False, 2 * limit.draw("", 1, T0_US).scale)


async def test_time_gives_back(store: CounterStore, limit: Limit) -> None:
    """Two minutes later everything fits again."""
    name = next(_names)
    await hit(store, limit, name, 3)
    assert not (await hit(store, limit, name, 3, T0_US + 120 * SECOND_US)).over


async def test_all_or_none(store: CounterStore, limit: Limit) -> None:
    """When one of two counters is over, none is consumed; each keeps its own answer."""
    name = next(_names)
    draws = [limit.draw(f"{name}a", 2, T0_US), limit.draw(f"{name}b", 4, T0_US)]
    readings = await store.draw(Group(draws, Mode.ALL_OR_NONE, together=True))
    assert [reading.over for reading in readings] == [False, True]
    assert (await hit(store, limit, f"{name}a", 0)).before == 0
    assert (await hit(store, limit, f"{name}b", 0)).before == 0


async def test_each_for_itself(store: CounterStore, limit: Limit) -> None:
    """Otherwise the counter that fits is consumed although the other one is over."""
    name = next(_names)
    draws = [limit.draw(f"{name}a", 2, T0_US), limit.draw(f"{name}b", 4, T0_US)]
    await store.draw(Group(draws))
    scale = draws[0].scale
    assert (await hit(store, limit, f"{name}a", 0)).before == 2 * scale
    assert (await hit(store, limit, f"{name}b", 0)).before == (4 if limit.count_refused else 0)


async def test_looking_takes_nothing(store: CounterStore, limit: Limit) -> None:
    """A look is answered as a draw would be, and nothing is counted."""
    name = next(_names)
    look = Group([limit.draw(name, 3, T0_US), limit.draw(name, 1, T0_US)], Mode.LOOK)
    for _ in range(3):
        assert [reading.over for reading in await store.draw(look)] == [False, True]
    assert not (await hit(store, limit, name, 3)).over


async def test_a_correction_always_counts(store: CounterStore, limit: Limit) -> None:
    """What was too little is drawn above the limit; what was too much is given back."""
    name = next(_names)
    await hit(store, limit, name, 3)
    await store.draw(Group([limit.correction(name, 2, T0_US, T0_US)]))
    scale = limit.draw("", 1, T0_US).scale
    assert (await hit(store, limit, name, 0)).before == 5 * scale
    await store.draw(Group([limit.correction(name, -4, T0_US, T0_US)]))
    assert (await hit(store, limit, name, 0)).before == scale
    await store.draw(Group([limit.correction(name, -4, T0_US, T0_US)]))
    assert (await hit(store, limit, name, 0)).before == 0


async def test_giving_back_to_a_counter_that_is_not_there(
    store: CounterStore, limit: Limit
) -> None:
    """Nothing comes of it, and nothing is owed."""
    name = next(_names)
    (reading,) = await store.draw(Group([limit.correction(name, -4, T0_US, T0_US)]))
    assert (reading.over, reading.after) == (False, 0)
    assert (await hit(store, limit, name, 4)).over


async def test_a_clock_that_steps_back(store: CounterStore, limit: Limit) -> None:
    """A small step gives nothing twice; after a large one counting goes on from there."""
    name = next(_names)
    await hit(store, limit, name, 3)
    if limit.algorithm is not Algorithm.FIXED_WINDOW:
        assert (await hit(store, limit, name, 1, T0_US - STEP_BACK_MAX_US)).over
        assert (await hit(store, limit, name, 1, T0_US - 600 * SECOND_US)).over
    again = await hit(store, limit, name, 1, T0_US - 600 * SECOND_US + 120 * SECOND_US)
    assert not again.over


async def test_absurd_hits(store: CounterStore, limit: Limit) -> None:
    """Hits near 2**64 are over, again and again, and the counter still answers."""
    name = next(_names)
    for hits in (2**64 - 1, HITS_MAX, 2**63):
        assert (await hit(store, limit, name, hits)).over
    for _ in range(3):
        await store.draw(Group([limit.correction(name, 2**64, T0_US, T0_US)]))
    assert (await hit(store, limit, name)).over
    largest = Limit(2**32 - 1, Unit.YEAR, limit.algorithm, count_refused=limit.count_refused)
    assert not (await hit(store, largest, next(_names), 2**32 - 1)).over


async def test_requests_that_come_together_count_exactly(store: CounterStore, limit: Limit) -> None:
    """Of two hundred requests at once exactly three pass, however they share round trips."""
    name = next(_names)
    readings = await asyncio.gather(*(hit(store, limit, name) for _ in range(200)))
    assert sum(not reading.over for reading in readings) == 3


async def test_many_draws_in_one_request(store: CounterStore, limit: Limit) -> None:
    """A thousand counters in one request, some of them named twice, are each counted once each."""
    name = next(_names)
    draws = [limit.draw(f"{name}{number % 900}", 1, T0_US) for number in range(1000)]
    readings = await store.draw(Group(draws))
    scale = draws[0].scale
    assert [reading.after for reading in readings] == [scale] * 900 + [2 * scale] * 100


async def test_roles_decide_about_all_or_none(store: CounterStore, limit: Limit) -> None:
    """A shadow that is over stops nobody; quotas stop a request when all of them are over."""
    for role, other, stopped in (
        (Role.SHADOW, Role.PLAIN, False),
        (Role.QUOTA, Role.QUOTA, False),
        (Role.QUOTA, Role.SHADOW_QUOTA, False),
        (Role.QUOTA, Role.PLAIN, True),
        (Role.PLAIN, Role.QUOTA, True),
    ):
        name = next(_names)
        over = limit.draw(f"{name}over", 4, T0_US, role)
        fits = limit.draw(f"{name}fits", 1, T0_US, other)
        await store.draw(Group([over, fits], Mode.ALL_OR_NONE, together=True))
        used = (await hit(store, limit, f"{name}fits", 0)).before
        assert (used == 0) == stopped, (role, other)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=asking.steps)
async def test_every_store_agrees_with_the_reference_model(
    store: CounterStore, steps: list[asking.Step]
) -> None:
    """Whatever is asked, in whatever mode and role, the answers are the slow model's."""
    model, prefix, now_us = ReferenceModel(), next(_names), asking.START_US
    for undated in steps:
        now_us += undated.later_us
        step = asking.dated(undated, now_us)
        group = asking.group_of(step, now_us, prefix)
        expected = model.ask(step.asks, step.mode, now_us)
        assert asking.said(group, await store.draw(group)) == expected


async def test_counters_expire(redis_url: str, redis_server: Redis, limit: Limit) -> None:
    """Every key has a time to live, so nothing stays in Redis for ever."""
    open_one = opened(redis_url)
    await hit(open_one.store, limit, "expiring")
    await open_one.store.close()
    key = "expiring" + (f":{T0_US // SECOND_US}" if limit.algorithm == 0 else "")
    assert 1_000 < int(await ask(redis_server.port, "PTTL", key)) <= 121_000


async def test_a_flushed_redis_knows_the_script_again(
    redis_url: str, redis_server: Redis, limit: Limit
) -> None:
    """SCRIPT FLUSH costs nothing but a second call."""
    open_one = opened(redis_url)
    await hit(open_one.store, limit, "flushed")
    await ask(redis_server.port, "SCRIPT", "FLUSH")
    assert (await hit(open_one.store, limit, "flushed", 0)).before > 0
    await open_one.store.close()


async def test_a_foreign_value_under_our_name_is_no_fault(
    redis_url: str, redis_server: Redis, limit: Limit
) -> None:
    """Text that we did not write counts as nothing, and is written over."""
    key = "foreign" + (f":{T0_US // SECOND_US}" if limit.algorithm == 0 else "")
    await ask(redis_server.port, "SET", key, "hello")
    open_one = opened(redis_url)
    befores = [(await hit(open_one.store, limit, "foreign")).before for _ in range(2)]
    assert befores == [0, limit.scale]
    await open_one.store.close()
