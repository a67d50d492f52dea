"""The hot copy in memory: what Redis is asked to do, in plain integers.

Serves unit tests, the model and a single process without Redis. Each method runs to its end without
giving way to another task, so it is atomic as a script in Redis is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from billing.errors import StoreUnavailable
from billing.rate import RateLeft, take_turn
from billing.reservations import (
    CREDITS,
    Admitted,
    Budget,
    Hold,
    Publication,
    Share,
    Short,
    Truth,
    Used,
    parse_record,
)
from billing.stores.protocol import Absent

LOAD_RIGHT_S = 2.0
"""How long the right to load a copy lasts: longer than a load takes, shorter than clients wait."""


@dataclass(slots=True)
class _Window:
    """One counted budget: the newest window that was asked for or published."""

    window_s: int
    used: int = 0
    held: int = 0


@dataclass(slots=True)
class _Copy:
    """One account: its balance as of a version of Postgres, and its live reservations."""

    epoch: int
    posted_nanos: int
    overdraft_nanos: int
    version: int
    held_nanos: int = 0
    windows: dict[str, _Window] = field(default_factory=dict)
    full_us: dict[str, int] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)

    @classmethod
    def built(cls, epoch: int, truth: Truth) -> _Copy:
        copy = cls(epoch, truth.posted_nanos, truth.overdraft_nanos, truth.version)
        copy._use(truth.used)
        for reservation_id, record in truth.pending:
            copy._hold(reservation_id, record)
        return copy

    @property
    def available_nanos(self) -> int:
        return self.posted_nanos + self.overdraft_nanos - self.held_nanos

    def admit(self, hold: Hold) -> Admitted | Short:
        """Hold once, however often the same reservation is asked for."""
        if hold.reservation_id in self.live:
            return Admitted(self.available_nanos)
        short = self._shortage(hold)
        if short is not None:
            return short
        self._hold(hold.reservation_id, hold.record())
        return Admitted(self.available_nanos, rate=self._take_turn(hold))

    def apply(self, publication: Publication) -> None:
        """Take newer values; forget the ended, and let usage grow, whatever the version.

        A publication names only the budgets that its batch touched, so an older one may be the
        only one that speaks of a budget. Usage of a window never shrinks: the larger is the newer.
        """
        if publication.version > self.version:
            self.version = publication.version
            self.posted_nanos = publication.posted_nanos
            self.overdraft_nanos = publication.overdraft_nanos
        self._use(publication.used)
        for reservation_id in publication.ended:
            self._release(reservation_id)

    def extend(self, reservation_id: str, expires_s: int) -> None:
        """Move the end of life in the record of a live reservation, never back."""
        record = self.live.get(reservation_id)
        if record is not None and parse_record(record).expires_s < expires_s:
            self.live[reservation_id] = with_expiry(record, expires_s)

    def as_truth(self, account_id: str) -> Truth:
        return Truth(
            account_id,
            self.posted_nanos,
            self.overdraft_nanos,
            self.version,
            tuple(Used(name, w.window_s, w.used) for name, w in self.windows.items()),
            tuple(self.live.items()),
        )

    def _shortage(self, hold: Hold) -> Short | None:
        for budget in hold.budgets:
            left = budget.limit - self._taken(budget)
            if left < budget.amount:
                return Short(budget.name, left, budget.limit)
        rate = hold.rate
        if rate is not None:
            turn = take_turn(self.full_us.get(rate.name, 0), rate)
            if turn.wait_us > 0:
                return Short(rate.name, 0, rate.burst, turn.wait_us)
        if 0 < hold.amount_nanos > self.available_nanos:
            return Short(CREDITS, self.available_nanos, hold.amount_nanos)
        return None

    def _take_turn(self, hold: Hold) -> RateLeft | None:
        if hold.rate is None:
            return None
        turn = take_turn(self.full_us.get(hold.rate.name, 0), hold.rate)
        self.full_us[hold.rate.name] = turn.full_us
        return turn.left

    def _taken(self, budget: Budget) -> int:
        """What stands against a budget; who asks with an older window is judged by the newer."""
        window = self.windows.get(budget.name)
        if window is None or window.window_s < budget.window_s:
            return 0
        return window.used + window.held

    def _hold(self, reservation_id: str, record: str) -> None:
        parsed = parse_record(record)
        self.live[reservation_id] = record
        self.held_nanos += parsed.amount_nanos
        for share in parsed.shares:
            self._rolled(share.name, share.window_s)
            self._count(share, +1)

    def _release(self, reservation_id: str) -> None:
        record = self.live.pop(reservation_id, None)
        if record is None:
            return
        parsed = parse_record(record)
        self.held_nanos -= parsed.amount_nanos
        assert self.held_nanos >= 0, self
        for share in parsed.shares:
            self._count(share, -1)

    def _count(self, share: Share, sign: int) -> None:
        """Add a share to its own window or take it away; another window never held it."""
        window = self.windows[share.name]
        if window.window_s == share.window_s:
            window.held += sign * share.amount
            assert window.held >= 0, self

    def _use(self, used: Sequence[Used]) -> None:
        for name, window_s, amount in used:
            window = self._rolled(name, window_s)
            if window.window_s == window_s:
                window.used = max(window.used, amount)

    def _rolled(self, name: str, window_s: int) -> _Window:
        """The window of a budget, moved on to ``window_s`` where it is behind; never back."""
        window = self.windows.get(name)
        if window is None or window.window_s < window_s:
            window = self.windows[name] = _Window(window_s)
        return window


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
        self._copies: dict[str, _Copy] = {}
        self._rights: dict[str, _Right] = {}
        self.away = False

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        """Judge each hold in order; see :meth:`HotStore.admit`."""
        self._reach()
        return [self._admit(epoch, hold) for hold in holds]

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
            if copy is not None:
                copy.apply(publication)

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
            return copy.admit(hold)
        if copy is not None and copy.epoch > epoch:
            return Absent(mine=False, token="")
        return self._absent(hold.account_id)

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
        self._copies[truth.account_id] = _Copy.built(epoch, truth)
        return True

    def _right(self, account_id: str) -> _Right | None:
        right = self._rights.get(account_id)
        return right if right is not None and self._now_s() < right.ends_s else None

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("the hot copy does not answer")


def with_expiry(record: str, expires_s: int) -> str:
    """The same record with another end of life (Unix seconds)."""
    amount, _, *shares = record.split("|")
    return "|".join((amount, str(expires_s), *shares))
