"""The hot copy in memory: what Redis is asked to do, in plain integers.

Serves unit tests, the model and a single process without Redis. Each method runs to its end without
giving way to another task, so it is atomic as a script in Redis is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from billing.errors import StoreUnavailable
from billing.lease_calls import LeaseCall, Leased
from billing.reservations import Admitted, Hold, Publication, Short, Truth
from billing.stores.memory_copy import Copy
from billing.stores.protocol import Absent

LOAD_RIGHT_S = 2.0
"""How long the right to load a copy lasts: longer than a load takes, shorter than clients wait."""


@dataclass(frozen=True, slots=True)
class _Right:
    """The right of one asker to load an account."""

    token: str
    ends_s: float


class MemoryHotStore:
    """A :class:`billing.stores.protocol.HotStore` of one process.

    ``now_s`` is a clock that never goes back; ``make_token`` gives a new text each time. While
    ``away`` is set every call raises :class:`StoreUnavailable`, as a Redis that does not answer.
    """

    def __init__(self, now_s: Callable[[], float], make_token: Callable[[], str]) -> None:
        self._now_s = now_s
        self._make_token = make_token
        self._copies: dict[str, Copy] = {}
        self._rights: dict[str, _Right] = {}
        self.away = False

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        """Judge each hold in order; see :meth:`HotStore.admit`."""
        self._reach()
        return [self._admit(epoch, hold) for hold in holds]

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        """Open, top up and close leases; see :meth:`HotStore.tend`."""
        self._reach()
        return [self._tend(epoch, call) for call in calls]

    async def load(self, epoch: int, copies: Sequence[tuple[str, Truth]]) -> Sequence[bool]:
        """Build copies whose right still stands; see :meth:`HotStore.load`."""
        self._reach()
        return [self._load(epoch, token, truth) for token, truth in copies]

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Apply what Postgres says; a load under way may hold an older truth: its right ends."""
        self._reach()
        for publication in publications:
            self._rights.pop(publication.account_id, None)
            copy = self._copies.get(publication.account_id)
            if copy is not None and not copy.apply(publication):
                del self._copies[publication.account_id]

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of reservations that it holds."""
        self._reach()
        for account_id, reservation_id, expires_s in lives:
            copy = self._copies.get(account_id)
            if copy is not None:
                copy.extend(reservation_id, expires_s)

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        """The copies that there are, of any epoch."""
        self._reach()
        found = {account_id: self._copies.get(account_id) for account_id in account_ids}
        return {key: copy.as_truth(key) for key, copy in found.items() if copy is not None}

    async def drop(self, account_ids: Sequence[str]) -> None:
        """Forget copies, and take the right from whoever is loading one."""
        self._reach()
        for account_id in account_ids:
            self._copies.pop(account_id, None)
            self._rights.pop(account_id, None)

    def flush(self) -> None:
        """Lose everything, as FLUSHALL or a restart without persistence does."""
        self._copies.clear()
        self._rights.clear()

    def _admit(self, epoch: int, hold: Hold) -> Admitted | Short | Absent:
        copy = self._copies.get(hold.account_id)
        if copy is not None and copy.epoch == epoch:
            return copy.admit(hold, self._now_s())
        if copy is not None and copy.epoch > epoch:
            return Absent(mine=False, token="")
        return self._absent(hold.account_id)

    def _tend(self, epoch: int, call: LeaseCall) -> Leased | None:
        copy = self._copies.get(call.hold.account_id)
        if copy is None:
            return None
        return copy.tend(call, self._now_s(), current=copy.epoch == epoch)

    def _absent(self, account_id: str) -> Absent:
        """Forget a copy of an older epoch, so that nobody is admitted on it while it is rebuilt."""
        self._copies.pop(account_id, None)
        if self._right(account_id) is not None:
            return Absent(mine=False, token="")
        right = _Right(self._make_token(), self._now_s() + LOAD_RIGHT_S)
        self._rights[account_id] = right
        return Absent(mine=True, token=right.token)

    def _load(self, epoch: int, token: str, truth: Truth) -> bool:
        right = self._right(truth.account_id)
        if right is None or right.token != token:
            return False
        del self._rights[truth.account_id]
        self._copies[truth.account_id] = Copy.built(epoch, truth)
        return True

    def _right(self, account_id: str) -> _Right | None:
        right = self._rights.get(account_id)
        return right if right is not None and self._now_s() < right.ends_s else None

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("the hot copy does not answer")
