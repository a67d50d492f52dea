"""One account's copy in memory: what the scripts of Redis do to a hash, in plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from billing.lease_calls import CALL_BACK_MS, PART, PAUSE_MS, LeaseCall, Leased, Step
from billing.rate import RateLeft, take_turn
from billing.reservations import (
    CREDITS,
    MAX_COUNTED,
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

MOST_REMEMBERED = 500
"""Ends that a copy remembers for leases that have not told of them yet."""


@dataclass(slots=True)
class Window:
    """One counted budget: the newest window that was asked for or published."""

    window_s: int
    used: int = 0
    held: int = 0


@dataclass(slots=True)
class _Lease:
    """What is left of a lease: credits and, in the order of its budgets, shares."""

    number: int
    amount_nanos: int
    shares: list[Share]
    expires_s: int

    def record(self) -> str:
        """As the record of a reservation."""
        shares = "".join([f"|{s.name}~{s.window_s}~{s.amount}" for s in self.shares])
        return f"{self.amount_nanos}|{self.expires_s}{shares}"


@dataclass(slots=True)
class Copy:
    """One account: its balance as of a version of Postgres, its live reservations and leases.

    ``ended`` are reservations that ended before the lease that admitted them told of them.
    """

    epoch: int
    posted_nanos: int
    overdraft_nanos: int
    version: int
    held_nanos: int = 0
    windows: dict[str, Window] = field(default_factory=dict)
    full_us: dict[str, int] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    leases: dict[str, _Lease] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    called_s: float | None = None

    @classmethod
    def built(cls, epoch: int, truth: Truth) -> Copy:
        copy = cls(epoch, truth.posted_nanos, truth.overdraft_nanos, truth.version)
        copy._use(truth.used)
        for reservation_id, record in truth.pending:
            copy._hold(reservation_id, record)
        return copy

    @property
    def available_nanos(self) -> int:
        return self.posted_nanos + self.overdraft_nanos - self.held_nanos

    def admit(self, hold: Hold, now_s: float) -> Admitted | Short:
        """Hold once, however often the same reservation is asked for."""
        if hold.reservation_id in self.live:
            return Admitted(self.available_nanos)
        short = self._shortage(hold)
        if short is not None:
            return self._call_back(short, now_s)
        self._hold(hold.reservation_id, hold.record())
        return Admitted(self.available_nanos, rate=self._take_turn(hold))

    def tend(self, call: LeaseCall, now_s: float, *, current: bool) -> Leased | None:
        """Take note, open, top up or close; only a ``current`` copy has anything to lease."""
        lease = self.leases.get(call.lease_id)
        if lease is None:
            if call.step is not Step.OPEN or not current:
                return None
            shares = [Share(name, window_s, 0) for name, window_s, _, _ in call.hold.budgets]
            opened = lease = _Lease(call.number, 0, shares, call.expires_s)
        else:
            opened = None
            lease.expires_s = max(lease.expires_s, call.expires_s)
            if lease.number < call.number:
                self._note(lease, call)
        if call.step is Step.CLOSE:
            self._close(lease, call)
            return Leased(0, self.available_nanos)
        called = self._called_back(now_s)
        granted, full_us = (0, 0)
        if current and not called:
            called = self._over_limit(call.hold)
            granted, full_us = (0, 0) if called else self._room(lease, call)
        if opened is not None:
            if not granted:
                return None
            self.leases[call.lease_id] = opened
        full_us = self._lease(lease, call, granted, full_us)
        return Leased(granted, self.available_nanos, full_us, called)

    def apply(self, publication: Publication) -> bool:
        """Take newer values; forget the ended, and let usage grow, whatever the version. False when
        it would have to remember too much, and has to go.

        A publication names only the budgets that its batch touched, so an older one may be the
        only one that speaks of a budget. Usage of a window never shrinks: the larger is the newer.
        """
        missing = [ident for ident in publication.ended if ident not in self.live]
        if self.leases and missing:
            if len(self.ended) + len(missing) > MOST_REMEMBERED:
                return False
            self.ended.update(missing)
        if publication.version > self.version:
            self.version = publication.version
            self.posted_nanos = publication.posted_nanos
            self.overdraft_nanos = publication.overdraft_nanos
        self._use(publication.used)
        for reservation_id in publication.ended:
            self._release(reservation_id)
        return True

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
            tuple((ident, lease.record()) for ident, lease in self.leases.items()),
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

    def _call_back(self, short: Short, now_s: float) -> Short:
        """What is short may be in leases: their holders hear of it, and let go."""
        if not self.leases:
            return short
        if self.called_s is None or now_s - self.called_s >= PAUSE_MS / 1000:
            self.called_s = now_s
        leased = now_s - self.called_s < CALL_BACK_MS / 1000
        return replace(short, leased=leased)

    def _called_back(self, now_s: float) -> bool:
        if self.called_s is not None and now_s - self.called_s >= PAUSE_MS / 1000:
            self.called_s = None
        return self.called_s is not None

    def _note(self, lease: _Lease, call: LeaseCall) -> None:
        """Reservations instead of their part of the lease; what has ended gives it back."""
        lease.number = call.number
        for draw in call.draws:
            record = parse_record(draw.record())
            lease.amount_nanos -= record.amount_nanos
            lease.shares = [
                Share(name, window_s, left - drawn.amount)
                for (name, window_s, left), drawn in zip(lease.shares, record.shares, strict=True)
            ]
            assert lease.amount_nanos >= 0 <= min((s.amount for s in lease.shares), default=0), self
            if draw.reservation_id in self.ended:
                self.ended.remove(draw.reservation_id)
                self.held_nanos -= record.amount_nanos
                for share in record.shares:
                    self._count(share, -1)
            else:
                self.live[draw.reservation_id] = draw.record()

    def _close(self, lease: _Lease, call: LeaseCall) -> None:
        self.held_nanos -= lease.amount_nanos
        for share in lease.shares:
            self._count(share, -1)
        rate = call.hold.rate
        if rate is not None and rate.name in self.full_us:
            self.full_us[rate.name] -= call.turns * rate.interval_us
        del self.leases[call.lease_id]
        if not self.leases:
            self.ended.clear()

    def _over_limit(self, hold: Hold) -> bool:
        """Whether not even who asks for nothing of a budget is admitted: nobody keeps a lease."""
        return any(self._taken(budget) > budget.limit for budget in hold.budgets)

    def _room(self, lease: _Lease, call: LeaseCall) -> tuple[int, int]:
        """For how many requests more there is room, and what the rate says then."""
        hold, most, full_us = call.hold, call.wanted, 0
        for budget in hold.budgets:
            window = self.windows.get(budget.name)
            if window is not None and window.window_s > budget.window_s:
                return 0, 0
            if budget.amount:
                left = budget.limit - self._taken(budget)
                most = min(most, left // (PART * budget.amount))
        if hold.amount_nanos:
            most = min(most, self.available_nanos // (PART * hold.amount_nanos))
            most = min(most, (MAX_COUNTED - lease.amount_nanos) // hold.amount_nanos)
        if hold.rate is not None:
            name, interval_us, burst, now_us = hold.rate
            leased_us = call.turns * interval_us
            full_us = max(self.full_us.get(name, -1) - leased_us, call.until_us) + leased_us
            room_us = now_us + burst * interval_us - full_us
            if room_us < 0:
                return 0, 0
            most = min(most, room_us // (PART * interval_us))
        return max(0, most), full_us

    def _lease(self, lease: _Lease, call: LeaseCall, granted: int, full_us: int) -> int:
        """More of everything for so many requests; returns what the rate says."""
        hold = call.hold
        self.held_nanos += granted * hold.amount_nanos
        lease.amount_nanos += granted * hold.amount_nanos
        if granted:
            more = [Share(b.name, b.window_s, granted * b.amount) for b in hold.budgets]
            for share in more:
                self._rolled(share.name, share.window_s)
                self._count(share, +1)
            lease.shares = [
                Share(had.name, had.window_s, had.amount + share.amount)
                for had, share in zip(lease.shares, more, strict=True)
            ]
        if hold.rate is None or full_us == 0:
            return 0
        full_us += granted * hold.rate.interval_us
        self.full_us[hold.rate.name] = full_us
        return full_us

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

    def _rolled(self, name: str, window_s: int) -> Window:
        """The window of a budget, moved on to ``window_s`` where it is behind; never back."""
        window = self.windows.get(name)
        if window is None or window.window_s < window_s:
            window = self.windows[name] = Window(window_s)
        return window


def with_expiry(record: str, expires_s: int) -> str:
    """The same record with another end of life (Unix seconds)."""
    amount, _, *shares = record.split("|")
    return "|".join((amount, str(expires_s), *shares))
