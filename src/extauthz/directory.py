"""Who a key belongs to, from memory.

A key that is known answers without waiting. One that is not costs one query, however many requests
wait for it, and keys that wait together share the query. Changes reach the memory through a stream;
:mod:`extauthz.freshness` says what may still be believed when the stream or Postgres is away.

Known keys lie in two layers: all of them packed into a few bytes each, and those that were used
lately as objects, with what was worked out for them (:mod:`extauthz.terms`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from billing.errors import StoreUnavailable
from billing.refusals import Refusal, refuse
from billing.stores.protocol import Change, PrincipalStore
from billing.subscriptions import Principal
from extauthz.bounded import BoundedMap
from extauthz.counts import DirectoryCounts, DirectoryState
from extauthz.freshness import Freshness, Stamp
from extauthz.limits import DirectoryLimits
from extauthz.packing import pack, unpack
from extauthz.terms import Terms

UNKNOWN = refuse("unknown_key")
UNAVAILABLE = refuse(
    "authorization_unavailable", "the store of keys does not answer", retry_after_s=1
)
OVERLOADED = refuse("authorization_unavailable", "too many unknown keys at once", retry_after_s=1)


@dataclass(slots=True, eq=False)
class Caller:
    """A known key: its principal, what was worked out for it by route, and how sure it is.

    ``stale`` is True when the last answer had to be given while Postgres was away.
    """

    principal: Principal
    stamp: Stamp
    terms: dict[str, Terms] = field(default_factory=dict)
    stale: bool = False
    version: int = -1
    fresh_until_s: float = 0.0


class Directory:
    """Principals by key hash. ``now_s`` is a clock that never goes back."""

    def __init__(
        self,
        store: PrincipalStore,
        limits: DirectoryLimits,
        counts: DirectoryCounts,
        now_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._limits = limits
        self._counts = counts
        self._now_s = now_s
        self._freshness = Freshness(limits, now_s)
        self._ready: BoundedMap[Caller] = BoundedMap(limits.max_ready)
        self._known: BoundedMap[bytes] = BoundedMap(limits.max_known)
        self._unknown: BoundedMap[float] = BoundedMap(limits.max_unknown)
        self._waiting: dict[bytes, asyncio.Future[Caller | Refusal]] = {}
        self._loading: asyncio.Task[None] | None = None
        self._away = False
        self._next_try_s = 0.0

    def recall(self, key_hash: bytes) -> Caller | Refusal | None:
        """The answer from memory, or ``None`` when Postgres has to be asked."""
        caller = self._ready.get(key_hash)
        if caller is None:
            return self._recall_packed(key_hash)
        if caller.version == self._freshness.version and self._now_s() < caller.fresh_until_s:
            self._counts.hits += 1
            return caller
        return self._rejudge(key_hash, caller)

    async def find(self, key_hash: bytes) -> Caller | Refusal:
        """Ask Postgres, together with all who wait; a refusal when it does not answer in time."""
        self._counts.misses += 1
        if key_hash not in self._waiting and not self._may_try():
            return self._without_postgres(key_hash)
        answer = self._ask(key_hash)
        if answer is None:
            self._counts.overloads += 1
            return OVERLOADED
        try:
            async with asyncio.timeout(self._limits.lookup_deadline_s):
                # Shielded: the others who wait for the same key still want it.
                found = await asyncio.shield(answer)
        except TimeoutError:
            found = UNAVAILABLE
        return found if found is not UNAVAILABLE else self._without_postgres(key_hash)

    async def follow(self, changes: AsyncIterator[Change]) -> None:
        """Hear of changes as long as they are told; begin before the one who tells them does."""
        try:
            async for change in changes:
                self.tell(change)
        finally:
            self.tell(Change("lost"))

    async def close(self) -> None:
        """Stop asking; whoever still waits is refused."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    def tell(self, change: Change) -> None:
        """Take note of one change."""
        self._counts.changes[change.kind] += 1
        self._freshness.tell(change)
        if change.kind == "lost" and change.detail == "back":
            self._away = False  # who tells changes asks the same Postgres
        if change.kind == "key":
            self._unknown.clear()  # it may be the creation of a key that was tried before

    def state(self) -> DirectoryState:
        """What it holds, for metrics and for people."""
        return DirectoryState(
            known=len(self._known),
            ready=len(self._ready),
            unknown=len(self._unknown),
            known_evicted=self._known.evicted,
            ready_evicted=self._ready.evicted,
            unknown_evicted=self._unknown.evicted,
            waiting=len(self._waiting),
            away=self._away,
            lost_s=self._freshness.lost_s,
        )

    def _recall_packed(self, key_hash: bytes) -> Caller | Refusal | None:
        packed = self._known.get(key_hash)
        if packed is not None:
            caller = Caller(*unpack(packed))
            self._known.touch(key_hash)
            self._ready.put(key_hash, caller)
            return self._rejudge(key_hash, caller)
        ends_s = self._unknown.get(key_hash)
        if ends_s is None or self._now_s() >= ends_s:
            return None
        self._counts.unknown_hits += 1
        return UNKNOWN

    def _rejudge(self, key_hash: bytes, caller: Caller) -> Caller | None:
        """Whether what is known may still be served without waiting."""
        belief = self._freshness.judge(caller.stamp, caller.principal.account_id)
        if belief == "fresh":
            caller.version = self._freshness.version
            caller.fresh_until_s = self._freshness.fresh_until_s(caller.stamp)
            caller.stale = False
            self._counts.hits += 1
            return caller
        if belief == "gone":
            self._forget(key_hash)
            return None
        if not self._away:
            return None
        if self._may_try():
            self._ask(key_hash)
        return self._served_stale(caller)

    def _served_stale(self, caller: Caller) -> Caller:
        self._counts.stale += 1
        caller.stale = True
        return caller

    def _without_postgres(self, key_hash: bytes) -> Caller | Refusal:
        """What is left to say when Postgres did not answer."""
        caller = self._ready.get(key_hash)
        if caller is not None:
            belief = self._freshness.judge(caller.stamp, caller.principal.account_id)
            if belief != "gone":
                return self._served_stale(caller)
        self._counts.unavailable += 1
        return UNAVAILABLE

    def _forget(self, key_hash: bytes) -> None:
        self._ready.discard(key_hash)
        self._known.discard(key_hash)

    def _may_try(self) -> bool:
        """While Postgres is away, one query at a time is tried, and not before its time."""
        if not self._away:
            return True
        return self._loading is None and self._now_s() >= self._next_try_s

    def _ask(self, key_hash: bytes) -> asyncio.Future[Caller | Refusal] | None:
        """The answer to come for a key; ``None`` when too many keys wait already."""
        answer = self._waiting.get(key_hash)
        if answer is not None:
            return answer
        if len(self._waiting) >= self._limits.max_waiting:
            return None
        answer = asyncio.get_running_loop().create_future()
        self._waiting[key_hash] = answer
        if self._loading is None:
            self._start_loading()
        return answer

    def _start_loading(self) -> None:
        self._loading = asyncio.create_task(self._load(), name="directory-load")
        self._loading.add_done_callback(self._loaded)

    async def _load(self) -> None:
        """Query until nobody waits; what comes to wait during a query shares the next one."""
        while self._waiting:
            wanted = list(self._waiting)[: self._limits.max_query_keys]
            stamp = self._freshness.stamp()
            try:
                async with asyncio.timeout(self._limits.query_deadline_s):
                    found = await self._store.find(wanted)
            except (StoreUnavailable, TimeoutError):
                self._fail()
            else:
                self._arrive(wanted, found, stamp)

    def _loaded(self, task: asyncio.Task[None]) -> None:
        """The loader ended: well, by :meth:`close`, or by a fault that all who wait shall hear."""
        self._loading = None
        fault = None if task.cancelled() else task.exception()
        if fault is None and not task.cancelled():
            if self._waiting:  # they came after its last look, and found it still there
                self._start_loading()
            return
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if fault is None:
                answer.set_result(UNAVAILABLE)
            else:
                answer.set_exception(fault)

    def _fail(self) -> None:
        self._counts.queries_failed += 1
        self._away = True
        self._freshness.unanswered()
        self._next_try_s = self._now_s() + self._limits.retry_s
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.set_result(UNAVAILABLE)

    def _arrive(self, wanted: list[bytes], found: Mapping[bytes, Principal], stamp: Stamp) -> None:
        self._counts.queries_answered += 1
        self._away = False
        self._freshness.answered()
        for key_hash in wanted:
            principal = found.get(key_hash)
            answer = (
                self._miss(key_hash)
                if principal is None
                else self._keep(key_hash, principal, stamp)
            )
            self._waiting.pop(key_hash).set_result(answer)

    def _miss(self, key_hash: bytes) -> Refusal:
        self._forget(key_hash)
        self._unknown.put(key_hash, self._now_s() + self._limits.unknown_ttl_s)
        return UNKNOWN

    def _keep(self, key_hash: bytes, principal: Principal, stamp: Stamp) -> Caller:
        caller = self._ready.get(key_hash)
        if caller is None or caller.principal != principal:
            caller = Caller(principal, stamp)
            self._ready.put(key_hash, caller)
        caller.stamp, caller.stale, caller.version = stamp, False, -1
        self._known.put(key_hash, pack(principal, stamp))
        return caller
