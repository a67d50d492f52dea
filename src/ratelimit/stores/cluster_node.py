"""One master of a Redis Cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from redis import asyncio as aredis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, TryAgainError

from ratelimit.algorithms import Group, Reading
from ratelimit.errors import StoreUnavailable
from ratelimit.settings_values import LaneSettings
from ratelimit.stores.lane import Answer, Lane, Server
from ratelimit.stores.redis import command, unavailable
from ratelimit.stores.script import Script, packed, unpacked

Address = tuple[str, int]


class SlotRange(NamedTuple):
    """Slots that belong to one master, both ends included."""

    first: int
    last: int
    owner: Address


def slot_of(key: str) -> int:
    """The slot of a counter's name: of the part between its braces."""
    return int(key_slot(key.encode()))


class Cluster(NamedTuple):
    """What a node needs of the cluster that it is in."""

    learn: Callable[[], Awaitable[None]]  # which slots are whose
    ask: Callable[[Address, Sequence[Group]], Awaitable[Sequence[Answer]]]  # a node in a migration


class ClusterNode:
    """Runs the script for groups of any slots that are the node's: one call per slot, all of
    them in one round trip.
    """

    def __init__(
        self,
        address: Address,
        client: aredis.Redis,
        script: Script,
        cluster: Cluster,
        settings: LaneSettings,
    ) -> None:
        self._address = address
        self._client = client
        self._script = script
        self._cluster = cluster
        name = f"Redis {address[0]}:{address[1]}"
        self.lane = Lane(Server(name, self._call, self._probe), settings)

    async def slots(self) -> Sequence[SlotRange]:
        """Which slots belong to which master, as this node sees it."""
        try:
            rows = await command(self._client, "CLUSTER", "SLOTS")
        except Exception as error:
            raise await unavailable(self._client, error) from error
        return [_slot_range(row, self._address[0]) for row in rows]

    async def asked(self, groups: Sequence[Group]) -> Sequence[Answer]:
        """The answers for one slot that is on its way to this node."""
        keys, batch = packed(groups)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("ASKING")
        pipeline.execute_command("EVAL", self._script.text, len(keys), *keys, batch)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except Exception as error:
            raise await unavailable(self._client, error) from error
        return await self._answers(groups, answers[1], may_ask=False)

    async def close(self) -> None:
        """End the lane and its connection."""
        await self.lane.close()
        await self._client.aclose()

    async def _probe(self) -> None:
        await self._cluster.learn()  # its slots may be another's by now
        try:
            await command(self._client, "PING")
        except Exception as error:
            raise await unavailable(self._client, error) from error

    async def _call(self, groups: Sequence[Group]) -> Sequence[Answer]:
        by_slot: dict[int, list[int]] = defaultdict(list)
        for number, group in enumerate(groups):
            by_slot[slot_of(group.draws[0].key)].append(number)
        batches = [[groups[number] for number in numbers] for numbers in by_slot.values()]
        raw = await self._round_trip("EVALSHA", self._script.sha, batches)
        unknown = [at for at, answer in enumerate(raw) if isinstance(answer, NoScriptError)]
        if unknown:
            again = [batches[at] for at in unknown]
            fresh = await self._round_trip("EVAL", self._script.text, again)
            for at, answer in zip(unknown, fresh, strict=True):
                raw[at] = answer
        answered: list[Answer] = [()] * len(groups)
        for numbers, batch, answer in zip(by_slot.values(), batches, raw, strict=True):
            for number, readings in zip(numbers, await self._answers(batch, answer), strict=True):
                answered[number] = readings
        return answered

    async def _round_trip(
        self, command: str, script: str, batches: Sequence[Sequence[Group]]
    ) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for groups in batches:
            keys, batch = packed(groups)
            pipeline.execute_command(command, script, len(keys), *keys, batch)
        try:
            return list(await pipeline.execute(raise_on_error=False))
        except Exception as error:
            raise await unavailable(self._client, error) from error

    async def _answers(
        self, groups: Sequence[Group], answer: Any, *, may_ask: bool = True
    ) -> Sequence[Answer]:
        """The readings of one slot's call, or for each of its groups why there are none."""
        if isinstance(answer, MovedError):
            return [StoreUnavailable("moved", str(answer))] * len(groups)
        if isinstance(answer, AskError) and may_ask:
            return await self._cluster.ask((answer.host, answer.port), groups)
        if isinstance(answer, TryAgainError | AskError):
            return [StoreUnavailable("migrating", str(answer))] * len(groups)
        if isinstance(answer, Exception):
            return [await unavailable(self._client, answer)] * len(groups)
        try:
            readings: Sequence[Sequence[Reading]] = unpacked(groups, answer)
        except Exception as error:
            raise await unavailable(self._client, error) from error
        return readings


def _slot_range(row: Sequence[Any], own_host: str) -> SlotRange:
    """A row of CLUSTER SLOTS: first slot, last slot, and its master as host, port and more. A node
    that does not know its own address leaves the host empty."""
    host, port = row[2][0], row[2][1]
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    return SlotRange(int(row[0]), int(row[1]), (name or own_host, int(port)))
