"""A Redis Cluster of three masters: slots, moves and masters that go."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from devstack import Redis, RedisCluster
from devstack.resp import ask
from ratelimit.algorithms import Algorithm, Group, Mode
from ratelimit.errors import StoreUnavailable
from ratelimit.keys import Part, counter_name
from ratelimit.limits import Limit
from ratelimit.settings_values import LaneSettings, RedisSettings
from ratelimit.stores.cluster import ClusterStore
from ratelimit.stores.cluster_node import slot_of
from ratelimit.stores.script import limits_script
from ratelimit.units import SECOND_US, Unit

T0_US = 1_700_000_000 * SECOND_US
LIMIT = Limit(3, Unit.HOUR, Algorithm.TOKEN_BUCKET, count_refused=False)
PATIENT = LaneSettings(deadline_ms=5_000, probe_deadline_ms=5_000)


def store_of(node: Redis, lane: LaneSettings = PATIENT) -> ClusterStore:
    """A store that knows one node of the cluster."""
    settings = RedisSettings(f"redis+cluster://{node.address}")
    return ClusterStore(settings, lane, limits_script())


def name_of(first: str, *more: str, whole_domain: bool = False) -> str:
    """A counter's name as the limiter makes it."""
    parts = [Part("account", first), *(Part("more", word) for word in more)]
    return counter_name("rl", "d", LIMIT.kind, parts, tag_by_entry=not whole_domain)


@pytest.fixture
async def cluster(redis_cluster: RedisCluster, redis_cluster_url: str) -> RedisCluster:
    """The running cluster, flushed."""
    assert redis_cluster_url.startswith(redis_cluster.nodes[0].url)
    return redis_cluster


async def test_counters_spread_over_the_masters(cluster: RedisCluster) -> None:
    """Three hundred accounts lie on all three, and each counts rightly in one request with
    others.
    """
    store = store_of(cluster.nodes[1])
    names = [name_of(f"a{number}") for number in range(300)]
    for after in (1, 2, 3):
        readings = await store.draw(Group([LIMIT.draw(name, 1, T0_US) for name in names]))
        assert {reading.after // LIMIT.scale for reading in readings} == {after}
    sizes = [int(await ask(node.port, "DBSIZE")) for node in cluster.nodes]
    assert sum(sizes) == 300
    assert min(sizes) > 50
    await store.close()


async def test_one_account_is_one_step(cluster: RedisCluster) -> None:
    """Descriptors that begin alike are all or nothing together, as on a single Redis."""
    store = store_of(cluster.nodes[0])
    draws = [
        LIMIT.draw(name_of("a1", "x"), 2, T0_US),
        LIMIT.draw(name_of("a1", "y"), 9, T0_US),
    ]
    await store.draw(Group(draws, Mode.ALL_OR_NONE, together=True))
    readings = await store.draw(Group(draws, Mode.LOOK))
    assert [reading.before for reading in readings] == [0, 0]
    await store.close()


async def test_a_domain_in_one_slot_is_one_step(cluster: RedisCluster) -> None:
    """With `one_slot` descriptors that begin differently are all or nothing as well."""
    store = store_of(cluster.nodes[0])
    names = [name_of(f"a{number}", whole_domain=True) for number in range(20)]
    draws = [LIMIT.draw(name, 1 + number // 19 * 8, T0_US) for number, name in enumerate(names)]
    readings = await store.draw(Group(draws, Mode.ALL_OR_NONE, together=True))
    assert [reading.over for reading in readings] == [False] * 19 + [True]
    looked = await store.draw(Group(draws, Mode.LOOK))
    assert {reading.before for reading in looked} == {0}
    await store.close()


async def owner(cluster: RedisCluster, slot: int) -> tuple[Redis, Redis]:
    """The master of a slot and another master."""
    for node in cluster.nodes:
        own = next(
            line.split()
            for line in (await ask(node.port, "CLUSTER", "NODES")).splitlines()
            if "myself" in line
        )
        for first, _, last in (words.partition("-") for words in own[8:] if "[" not in words):
            if int(first) <= slot <= int(last or first):
                return node, next(other for other in cluster.nodes if other is not node)
    raise AssertionError(f"nobody owns slot {slot}")


async def test_a_slot_that_moves(cluster: RedisCluster) -> None:
    """While it moves and after it moved the count goes on, and every request is answered."""
    store = store_of(cluster.nodes[0])
    name = name_of("mover")
    draw = Group([LIMIT.draw(name, 1, T0_US)])
    assert not (await store.draw(draw))[0].over
    slot = slot_of(name)
    source, target = await owner(cluster, slot)
    ids = [(await ask(node.port, "CLUSTER", "MYID")) for node in (source, target)]
    await ask(target.port, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", ids[0])
    await ask(source.port, "CLUSTER", "SETSLOT", str(slot), "MIGRATING", ids[1])
    await ask(source.port, "MIGRATE", "127.0.0.1", str(target.port), name, "0", "5000")
    assert (await store.draw(draw))[0].before == LIMIT.scale
    for node in (target, source):
        await ask(node.port, "CLUSTER", "SETSLOT", str(slot), "NODE", ids[1])
    assert (await store.draw(draw))[0].before == 2 * LIMIT.scale
    assert (await store.draw(draw))[0].over
    await store.close()


async def test_a_master_that_stands_still(cluster: RedisCluster) -> None:
    """Its slots fail within the deadline and then at once; the other masters' go on; it
    recovers.
    """
    hasty = LaneSettings(breaker_faults=2, breaker_probe_interval_ms=50, deadline_ms=200)
    store = store_of(cluster.nodes[0], hasty)
    await store.warm_up()
    names = [name_of(f"s{number}") for number in range(12)]
    owners = [await owner(cluster, slot_of(name)) for name in names]
    stopped = owners[0][0]
    assert stopped.pid is not None
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        found: Counter[tuple[bool, str]] = Counter()
        for _ in range(4):
            for name, (node, _) in zip(names, owners, strict=True):
                reason = await answer(store, name)
                found[node is stopped, reason] += 1
        assert {reason for here, reason in found if here} == {"deadline", "breaker_open"}
        assert {reason for here, reason in found if not here} == {"ok"}
        assert store.state() == "breaker_open"
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    async with asyncio.timeout(10):
        while store.state() != "ok":
            await asyncio.sleep(0.02)
    assert {await answer(store, name) for name in names} == {"ok"}
    await store.close()


async def answer(store: ClusterStore, name: str) -> str:
    """``ok``, or why there is none."""
    try:
        await store.draw(Group([LIMIT.draw(name, 1, T0_US)]))
    except StoreUnavailable as error:
        return error.reason
    return "ok"


async def test_no_cluster_there(tmp_path: Path) -> None:
    """Neither an address where nobody listens nor a Redis that is no cluster stops the service."""
    async with Redis(tmp_path) as single:
        for url in ("redis+cluster://127.0.0.1:1", f"redis+cluster://{single.address}"):
            store = ClusterStore(RedisSettings(url), PATIENT, limits_script())
            await store.warm_up()
            assert await answer(store, "k") == "no_slots_known"
            assert store.state() == "no_slots_known"
            await store.close()
