"""The hot copy in Redis: one hash per account, ``tk:{ACCOUNT}``, changed only by five scripts.

The braces are a hash tag, so all that one script call touches of an account lies in one slot of a
Redis Cluster. On a single server one call decides all requests that wait together; on a Cluster
there is one call per account, sent together. The scripts say at their top what they expect, and
``hot_counts.lua`` what they keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec
from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError

from billing.lease_calls import CALL_BACK_MS, PART, PAUSE_MS, LeaseCall, Leased
from billing.rate import RateLeft
from billing.reservations import Admitted, Hold, Publication, Short, Truth
from billing.stores.hot_layout import (
    account_key,
    read_copy,
    reservation_field,
    write_hold,
    write_lease_call,
    write_publication,
    write_truth,
)
from billing.stores.protocol import Absent
from billing.stores.redis_client import RedisClient
from billing.stores.redis_faults import redis_faults
from billing.stores.redis_line import RedisLine

LOAD_RIGHT_MS = 2000
"""How long one loader may take before another may try; loading takes about 10 ms."""

LAYOUT = "hot_counts.lua"

_unpack = msgspec.msgpack.Decoder(list[list[Any]]).decode


class Script:
    """Lua files, one after the other, called by their digest; sent whole only when the server does
    not know it."""

    def __init__(self, *names: str) -> None:
        folder = files("billing.stores")
        self.text = "".join([folder.joinpath(name).read_text() for name in names])
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        """The call as a command, for a pipeline."""
        return ["EVALSHA", self.digest, len(keys), *keys, *args]

    async def call(self, line: RedisLine, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return await line.call("EVALSHA", self.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await line.call("EVAL", self.text, len(keys), *keys, *args)


class RedisHotStore:
    """:class:`billing.stores.protocol.HotStore` in Redis; ``deadline_s`` bounds each call.

    ``new_token`` makes a text that no other asker makes, for the right to load a copy.
    """

    def __init__(
        self, client: RedisClient, new_token: Callable[[], str], deadline_s: float = 0.25
    ) -> None:
        self._client = client
        self._line = None if isinstance(client, RedisCluster) else RedisLine(client)
        self._new_token = new_token
        self._deadline_s = deadline_s
        self._admit = Script(LAYOUT, "admit.lua")
        self._load = Script(LAYOUT, "load.lua")
        self._publish = Script(LAYOUT, "publish.lua")
        self._extend = Script("extend.lua")
        self._lease = Script(LAYOUT, "lease.lua")

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        """Hold all budgets of each request, all or nothing, in one round trip; same order."""
        token = self._new_token()
        head = (epoch, token, LOAD_RIGHT_MS, CALL_BACK_MS, PAUSE_MS)
        items = [(hold.account_id, (write_hold(hold),)) for hold in holds]
        found = await self._call("admit", self._admit, items, head)
        answers = [(places, _unpack(packed)) for places, packed in found]
        return [_admission(answer, token) for answer in _in_order(answers, len(holds))]

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        """Open, top up and close leases; None for one that is not there, or was not granted."""
        items = [(call.hold.account_id, (write_lease_call(call),)) for call in calls]
        found = await self._call("tend leases", self._lease, items, (epoch, PART, PAUSE_MS))
        answers = [(places, _unpack(packed)) for places, packed in found]
        return [_leased(answer) for answer in _in_order(answers, len(calls))]

    async def load(self, epoch: int, copies: Sequence[tuple[str, Truth]]) -> Sequence[bool]:
        """Build copies under the tokens that ``Absent`` gave; False where the right was lost."""
        items = [(truth.account_id, write_truth(token, truth)) for token, truth in copies]
        found = await self._call("load", self._load, items, (epoch,))
        return [bool(built) for built in _in_order(found, len(copies))]

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Tell what Postgres says and which reservations have ended; idempotent, in any order."""
        items = [(said.account_id, (write_publication(said),)) for said in publications]
        await self._call("publish", self._publish, items, ())

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of reservations: account, reservation, Unix seconds."""
        items = [(account, (reservation_field(ident), end)) for account, ident, end in lives]
        await self._call("extend", self._extend, items, ())

    async def drop(self, account_ids: Sequence[str]) -> None:
        """Forget copies, so that the next request of each account builds one from the truth."""
        async with redis_faults("drop", self._deadline_s):
            pipeline = self._client.pipeline(transaction=False)
            for account_id in account_ids:
                pipeline.delete(account_key(account_id))
            await pipeline.execute()

    async def accounts(self, at_most: int) -> AsyncIterator[Sequence[str]]:
        """The accounts that have a copy, about ``at_most`` at a time; a copy that moves while it is
        looked for may come twice (Redis, SCAN)."""
        piece: list[str] = []
        keys = self._client.scan_iter(match="tk:{*}", count=at_most)
        while True:
            async with redis_faults("accounts", self._deadline_s):
                key = await anext(keys, None)
            if key is None:
                break
            piece.append(key.decode()[len("tk:{") : -1])
            if len(piece) >= at_most:
                yield piece
                piece = []
        if piece:
            yield piece

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        """What the hot copy holds of these accounts, for checks and for people."""
        async with redis_faults("read", self._deadline_s):
            pipeline = self._client.pipeline(transaction=False)
            for account_id in account_ids:
                pipeline.hgetall(account_key(account_id))
            copies = await pipeline.execute()
        found = [
            read_copy(account, fields) for account, fields in zip(account_ids, copies, strict=True)
        ]
        return {truth.account_id: truth for truth in found if truth is not None}

    async def _call(
        self,
        what: str,
        script: Script,
        items: Sequence[tuple[str, tuple[Any, ...]]],
        head: tuple[Any, ...],
    ) -> list[tuple[Sequence[int], Any]]:
        """One script over all accounts, or on a Cluster one per account at the same time.

        Each answer comes with the places of the items that it is for.
        """
        if not items:
            return []
        async with redis_faults(what, self._deadline_s):
            if self._line is not None:
                keys = [account_key(account) for account, _ in items]
                args = [arg for _, own in items for arg in own]
                answer = await script.call(self._line, keys, [*head, *args])
                return [(range(len(items)), answer)]
            return await self._call_each(script, items, head)

    async def _call_each(
        self,
        script: Script,
        items: Sequence[tuple[str, tuple[Any, ...]]],
        head: tuple[Any, ...],
    ) -> list[tuple[Sequence[int], Any]]:
        groups: dict[str, list[int]] = {}
        for index, (account, _) in enumerate(items):
            groups.setdefault(account, []).append(index)
        calls = [
            script.command(
                [account_key(account)] * len(places),
                [*head, *(arg for place in places for arg in items[place][1])],
            )
            for account, places in groups.items()
        ]
        answers = await self._pipelined(script, calls)
        return list(zip(groups.values(), answers, strict=True))

    async def _pipelined(self, script: Script, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """All calls in one pipeline per node; a node that lacks the script is given it first."""
        found = await self._execute(calls)
        lacking = [i for i, answer in enumerate(found) if isinstance(answer, NoScriptError)]
        if lacking:
            await self._client.script_load(script.text)
            for i, answer in zip(
                lacking, await self._execute([calls[i] for i in lacking]), strict=True
            ):
                found[i] = answer
        for answer in found:
            if isinstance(answer, Exception):
                raise answer
        return found

    async def _execute(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(*call)
        return await pipeline.execute(raise_on_error=False)


def _in_order(found: Sequence[tuple[Sequence[int], Sequence[Any]]], count: int) -> Sequence[Any]:
    """The answers to so many items, of calls that were each asked for some of them."""
    if len(found) == 1:
        return found[0][1]
    answers: list[Any] = [None] * count
    for places, some in found:
        for place, answer in zip(places, some, strict=True):
            answers[place] = answer
    return answers


def _admission(answer: list[Any], token: str) -> Admitted | Short | Absent:
    match answer:
        case [1, available, requests, full_after_us]:
            return Admitted(int(available), rate=RateLeft(requests, full_after_us))
        case [1, available]:
            return Admitted(int(available))
        case [0, budget, left, limit]:
            return Short(budget, int(left), int(limit))
        case [0, budget, left, limit, wait_us]:
            return Short(budget, int(left), int(limit), wait_us)
        case [0, budget, left, limit, wait_us, _]:
            return Short(budget, int(left), int(limit), wait_us, leased=True)
        case [code]:
            return Absent(mine=code == 2, token=token)
    raise AssertionError(f"admit.lua answered {answer!r}")


def _leased(answer: list[Any]) -> Leased | None:
    if answer == [0]:
        return None
    _, granted, available, full_us, called_back = answer
    return Leased(granted, int(available), full_us, called_back)
