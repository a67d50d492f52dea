"""The hot copy in Redis: one hash per account, ``tk:{ACCOUNT}``, changed only by four scripts.

The braces are a hash tag, so all that one script call touches of an account lies in one slot of a
Redis Cluster. On a single server one call decides all requests that wait together; on a Cluster
there is one call per account, sent together. The scripts say at their top what they keep and what
they expect.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

import msgspec
from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError

from billing.rate import RateLeft
from billing.reservations import Admitted, Hold, Publication, Short, Truth, Used
from billing.stores.protocol import Absent
from billing.stores.redis_client import RedisClient
from billing.stores.redis_faults import redis_faults
from billing.stores.redis_line import RedisLine

LOAD_RIGHT_MS = 2000
"""How long one loader may take before another may try; loading takes about 10 ms."""

_pack = msgspec.msgpack.Encoder().encode


class Script:
    """A Lua file, called by its digest; sent whole only when the server does not know it."""

    def __init__(self, name: str) -> None:
        self.text = files("billing.stores").joinpath(name).read_text()
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        """The call as a command, for a pipeline."""
        return ["EVALSHA", self.digest, len(keys), *keys, *args]

    async def call(self, line: RedisLine, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return await line.call("EVALSHA", self.digest, len(keys), *keys, *args)
        except NoScriptError:
            return await line.call("EVAL", self.text, len(keys), *keys, *args)


def account_key(account_id: str) -> str:
    """The key of an account's copy; the braces keep it in one slot of a Cluster."""
    return f"tk:{{{account_id}}}"


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
        self._admit = Script("admit.lua")
        self._load = Script("load.lua")
        self._publish = Script("publish.lua")
        self._extend = Script("extend.lua")

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        """Hold all budgets of each request, all or nothing, in one round trip; same order."""
        token = self._new_token()
        items = [(hold.account_id, [_request(hold)]) for hold in holds]
        answers = await self._call("admit", self._admit, items, [epoch, token, LOAD_RIGHT_MS])
        return [_admission(answer, token) for answer in answers]

    async def load(self, epoch: int, copies: Sequence[tuple[str, Truth]]) -> Sequence[bool]:
        """Build copies under the tokens that ``Absent`` gave; False where the right was lost."""
        items = [(truth.account_id, [_copy(token, truth)]) for token, truth in copies]
        return [bool(done) for done in await self._call("load", self._load, items, [epoch])]

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Tell what Postgres says and which reservations have ended; idempotent, in any order."""
        items = [(said.account_id, [_said(said)]) for said in publications]
        await self._call("publish", self._publish, items, [])

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of reservations: account, reservation, Unix seconds."""
        items: list[tuple[str, list[Any]]] = [
            (account, [ident, end]) for account, ident, end in lives
        ]
        await self._call("extend", self._extend, items, [])

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
        return {
            account: _truth(account, fields)
            for account, fields in zip(account_ids, copies, strict=True)
            if b"e" in fields
        }

    async def _call(
        self,
        what: str,
        script: Script,
        items: Sequence[tuple[str, list[Any]]],
        head: list[Any],
    ) -> list[Any]:
        """One script over all accounts, or on a Cluster one per account at the same time."""
        if not items:
            return []
        async with redis_faults(what, self._deadline_s):
            if self._line is not None:
                keys = [account_key(account) for account, _ in items]
                args = [arg for _, own in items for arg in own]
                return cast("list[Any]", await script.call(self._line, keys, [*head, *args]))
            return await self._call_each(script, items, head)

    async def _call_each(
        self, script: Script, items: Sequence[tuple[str, list[Any]]], head: list[Any]
    ) -> list[Any]:
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
        answers: list[Any] = [None] * len(items)
        for places, found in zip(
            groups.values(), await self._pipelined(script, calls), strict=True
        ):
            if isinstance(found, list):
                for place, answer in zip(places, found, strict=True):
                    answers[place] = answer
        return answers

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


def _request(hold: Hold) -> bytes:
    amount = str(hold.amount_nanos)
    if hold.rate is None:
        return _pack((hold.reservation_id, amount, hold.record(), hold.budgets))
    return _pack((hold.reservation_id, amount, hold.record(), hold.budgets, hold.rate))


def _copy(token: str, truth: Truth) -> bytes:
    return _pack(
        (
            token,
            str(truth.posted_nanos),
            str(truth.overdraft_nanos),
            str(truth.version),
            truth.used,
            truth.pending,
        )
    )


def _said(said: Publication) -> bytes:
    return _pack(
        (
            str(said.posted_nanos),
            str(said.overdraft_nanos),
            str(said.version),
            said.used,
            said.ended,
        )
    )


def _admission(answer: list[Any], token: str) -> Admitted | Short | Absent:
    match answer:
        case [1, available]:
            return Admitted(int(available))
        case [1, available, requests, full_after_us]:
            return Admitted(int(available), rate=RateLeft(requests, full_after_us))
        case [0, budget, left, limit]:
            return Short(budget.decode(), int(left), int(limit))
        case [0, budget, left, limit, wait_us]:
            return Short(budget.decode(), int(left), int(limit), wait_us)
        case [code]:
            return Absent(mine=code == 2, token=token)
    raise AssertionError(f"admit.lua answered {answer!r}")


def _truth(account_id: str, fields: Mapping[bytes, bytes]) -> Truth:
    used = [
        Used(name[2:].decode(), int(window), int(fields.get(b"u:" + name[2:], b"0")))
        for name, window in fields.items()
        if name.startswith(b"w:")
    ]
    pending = [
        (name[2:].decode(), record.decode())
        for name, record in fields.items()
        if name.startswith(b"r:")
    ]
    return Truth(account_id, int(fields[b"p"]), int(fields[b"o"]), int(fields[b"v"]), used, pending)
