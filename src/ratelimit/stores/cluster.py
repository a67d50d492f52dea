"""Counters in a Redis Cluster: a lane per master, and for each slot its own atomic script call.

What one request counts is atomic per slot. A counter's slot follows from its domain and its
descriptor's first entry (:mod:`ratelimit.keys`), so descriptors that begin alike, such as one
account's, are taken in one step; others are not. A domain that needs all of its counters in one
step says ``one_slot: true`` and lives on one node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ratelimit.algorithms import Group, Reading
from ratelimit.errors import StoreUnavailable
from ratelimit.settings_values import LaneSettings, RedisSettings
from ratelimit.stores.cluster_node import Address, Cluster, ClusterNode, SlotRange, slot_of
from ratelimit.stores.lane import Answer, Lane
from ratelimit.stores.redis import connected
from ratelimit.stores.redis_url import parse_redis_url
from ratelimit.stores.script import Script

_log = logging.getLogger(__name__)


class ClusterStore:
    """All masters of a cluster; learns from them which slots are whose, and again on a change."""

    def __init__(self, settings: RedisSettings, lane: LaneSettings, script: Script) -> None:
        self._settings = settings
        self._lane_settings = lane
        self._script = script
        self._address = parse_redis_url(settings.url)
        self._nodes: dict[Address, ClusterNode] = {}
        self._owners: dict[int, Address] = {}  # by slot
        self._learning: asyncio.Task[None] | None = None

    async def draw(self, group: Group) -> Sequence[Reading]:
        """See the protocol."""
        slots = [slot_of(draw.key) for draw in group.draws]
        if len(set(slots)) == 1:
            return await self._draw_slot(slots[0], group)
        parts: dict[int, list[int]] = {}
        for number, slot in enumerate(slots):
            parts.setdefault(slot, []).append(number)
        answers = await asyncio.gather(
            *(
                self._draw_slot(slot, group._replace(draws=[group.draws[n] for n in numbers]))
                for slot, numbers in parts.items()
            )
        )
        by_slot = {slot: iter(answer) for slot, answer in zip(parts, answers, strict=True)}
        return [next(by_slot[slot]) for slot in slots]

    def lanes(self) -> Sequence[Lane]:
        """For metrics."""
        return [node.lane for node in self._nodes.values()]

    def state(self) -> str:
        """``ok``, or what is wrong with the first master that has a fault."""
        if not self._owners:
            return "no_slots_known"
        states = (lane.state() for lane in self.lanes())
        return next((state for state in states if state != "ok"), "ok")

    async def warm_up(self) -> None:
        """Learn the slots and connect to every master now."""
        try:
            await self._learned()
        except StoreUnavailable as error:
            _log.warning("the Redis Cluster does not answer yet: %s", error)
        await asyncio.gather(*(lane.warm_up() for lane in self.lanes()))

    async def close(self) -> None:
        """See the protocol."""
        if self._learning:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    async def _draw_slot(self, slot: int, group: Group) -> Sequence[Reading]:
        if not self._owners:
            await self._learned()
        try:
            return await self._owner(slot).lane.draw(group)
        except StoreUnavailable as error:
            if error.reason != "moved":
                raise
        # The slot's old master refused, so nothing was counted there: ask the new one, once.
        await self._learned()
        return await self._owner(slot).lane.draw(group)

    def _owner(self, slot: int) -> ClusterNode:
        address = self._owners.get(slot)
        if address is None:
            raise StoreUnavailable("no_slots_known", f"nobody serves slot {slot}")
        return self._nodes[address]

    async def _ask(self, address: Address, groups: Sequence[Group]) -> Sequence[Answer]:
        if address not in self._nodes:
            return [StoreUnavailable("migrating")] * len(groups)
        return await self._nodes[address].asked(groups)

    async def _learned(self) -> None:
        """Wait until the slots were learned anew; many who ask at once share one look."""
        if self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(self._learn())
            self._learning.add_done_callback(self._learning_ended)
        await asyncio.shield(self._learning)

    def _learning_ended(self, task: asyncio.Task[None]) -> None:
        self._learning = None
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _learn(self) -> None:
        last = StoreUnavailable("no_slots_known", "no node is named")
        for address in self._seeds():
            node = self._nodes.get(address) or self._opened(address)
            try:
                async with asyncio.timeout(self._lane_settings.probe_deadline_ms / 1000):
                    slots = await node.slots()
            except (StoreUnavailable, TimeoutError) as error:
                last = StoreUnavailable("no_slots_known", f"{address[0]}:{address[1]}: {error}")
            else:
                await self._take_over(slots)
                return
            finally:
                if self._nodes.get(address) is not node:
                    await node.close()
        raise last

    def _seeds(self) -> Sequence[Address]:
        """The masters that answer, then those that do not, then the ones that the URL names."""
        known = sorted(self._nodes, key=lambda address: self._nodes[address].lane.breaker.is_open)
        return [*known, *(address for address in self._address.nodes if address not in known)]

    async def _take_over(self, slots: Iterable[SlotRange]) -> None:
        owners: dict[int, Address] = {}
        for first, last, owner in slots:
            owners.update(dict.fromkeys(range(first, last + 1), owner))
        masters = set(owners.values())
        gone = [self._nodes.pop(address) for address in set(self._nodes) - masters]
        for address in masters - set(self._nodes):
            self._nodes[address] = self._opened(address)
        self._owners = owners
        await asyncio.gather(*(node.close() for node in gone))

    def _opened(self, address: Address) -> ClusterNode:
        one = replace(self._address, kind="single", nodes=(address,))
        client = connected(one, self._settings, self._lane_settings)
        around = Cluster(self._learned, self._ask)
        return ClusterNode(address, client, self._script, around, self._lane_settings)
