"""A hot copy as anybody would work it out: what is held is added up anew at each question."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from billing.lease_calls import LeaseCall, Leased, Step
from billing.reservations import (
    CREDITS,
    Admitted,
    Budget,
    Hold,
    Publication,
    Record,
    Share,
    Short,
    Used,
    parse_record,
)

LEFT_TO_OTHERS = 8
"""A lease takes at most one part in so many of what is left."""


@dataclass
class ReferenceLease:
    """What a lease has left, and the number of the last call that was made."""

    number: int
    amount: int
    shares: tuple[Share, ...]

    def change(self, sign: int, times: int, amount: int, amounts: Iterable[int]) -> None:
        """So many requests of these amounts more, or less; never less than nothing."""
        self.amount += sign * times * amount
        self.shares = tuple(
            share._replace(amount=share.amount + sign * times * more)
            for share, more in zip(self.shares, amounts, strict=True)
        )
        assert self.amount >= 0, "more was drawn than was leased"
        assert all(share.amount >= 0 for share in self.shares), "more was drawn than was leased"


@dataclass
class ReferenceCopy:
    """One account as of a version; ``used`` maps a budget to its window and what is used of it.

    ``ended`` before the lease told of them that they were drawn from. ``called_back``: somebody was
    short while there were leases, a moment ago.
    """

    epoch: int
    posted: int
    overdraft: int
    version: int
    used: dict[str, tuple[int, int]] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)
    leases: dict[str, ReferenceLease] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    called_back: bool = False

    def held(self) -> Iterator[Record | ReferenceLease]:
        """Everything that takes of the account."""
        yield from map(parse_record, self.live.values())
        yield from self.leases.values()

    @property
    def available(self) -> int:
        held = sum(_amount(one) for one in self.held())
        return self.posted + self.overdraft - held

    def left(self, budget: Budget) -> int:
        """What can still be had of a counted budget."""
        window, used = self.used.get(budget.name, (budget.window_s, 0))
        if window < budget.window_s:
            return budget.limit
        shares = (share for one in self.held() for share in one.shares)
        held = sum(s.amount for s in shares if (s.name, s.window_s) == (budget.name, window))
        return budget.limit - used - held

    def admit(self, hold: Hold) -> Admitted | Short:
        """Hold it, once, if every budget covers it; else leases are called back."""
        if hold.reservation_id in self.live:
            return Admitted(self.available)
        short = self._short(hold)
        if short is not None:
            self.called_back = self.called_back or bool(self.leases)
            return replace(short, leased=bool(self.leases))
        self.hold(hold.reservation_id, hold.record())
        return Admitted(self.available)

    def _short(self, hold: Hold) -> Short | None:
        for budget in hold.budgets:
            if self.left(budget) < budget.amount:
                return Short(budget.name, self.left(budget), budget.limit)
        if hold.amount_nanos and self.available < hold.amount_nanos:
            return Short(CREDITS, self.available, hold.amount_nanos)
        return None

    def tend(self, call: LeaseCall, *, current: bool) -> Leased | None:
        """Take note of what was drawn, once; then close, open or top up."""
        lease = self.leases.get(call.lease_id)
        if lease is None and (call.step is not Step.OPEN or not current):
            return None
        if lease is not None and lease.number < call.number:
            lease.number = call.number
            self._note(lease, call)
        if call.step is Step.CLOSE:
            del self.leases[call.lease_id]
            self.ended &= set(self.ended if self.leases else ())
            return Leased(0, self.available)
        granted = self._grant(call) if current and not self.called_back else 0
        if lease is None:
            if not granted:
                return None
            shares = tuple(Share(name, window_s, 0) for name, window_s, _, _ in call.hold.budgets)
            lease = self.leases[call.lease_id] = ReferenceLease(call.number, 0, shares)
        lease.change(+1, granted, call.hold.amount_nanos, (b.amount for b in call.hold.budgets))
        if granted:
            self.use(Used(share.name, share.window_s, 0) for share in lease.shares)
        return Leased(granted, self.available, 0, self.called_back)

    def _note(self, lease: ReferenceLease, call: LeaseCall) -> None:
        for draw in call.draws:
            lease.change(-1, 1, draw.amount_nanos, (b.amount for b in draw.budgets))
            if draw.reservation_id in self.ended:
                self.ended.remove(draw.reservation_id)
            else:
                self.live[draw.reservation_id] = draw.record()

    def _grant(self, call: LeaseCall) -> int:
        """For how many more requests; each budget leaves most of what it has to others."""
        granted = call.wanted
        for budget in call.hold.budgets:
            window, _ = self.used.get(budget.name, (budget.window_s, 0))
            if window > budget.window_s:
                return 0
            if budget.amount:
                granted = min(granted, self.left(budget) // LEFT_TO_OTHERS // budget.amount)
        if call.hold.amount_nanos:
            granted = min(granted, self.available // LEFT_TO_OTHERS // call.hold.amount_nanos)
        return max(0, granted)

    def hold(self, ident: str, record: str) -> None:
        """Take a reservation; its shares may open newer windows."""
        self.live[ident] = record
        self.use(Used(share.name, share.window_s, 0) for share in parse_record(record).shares)

    def use(self, counts: Iterable[Used]) -> None:
        """Within a window usage only grows; a newer window starts from what is said of it."""
        for name, window_s, used in counts:
            self.used[name] = max(self.used.get(name, (window_s, 0)), (window_s, used))

    def apply(self, said: Publication) -> None:
        """Take what is newer, and let go of what has ended; what leases were not yet asked to tell
        of is let go when they do."""
        if said.version > self.version:
            self.posted, self.overdraft = said.posted_nanos, said.overdraft_nanos
            self.version = said.version
        self.use(said.used)
        for ident in said.ended:
            if self.live.pop(ident, None) is None and self.leases:
                self.ended.add(ident)


@dataclass
class ReferenceHot:
    """What Redis has to answer; ``loading`` maps accounts to the token of who may load them."""

    copies: dict[str, ReferenceCopy] = field(default_factory=dict)
    loading: dict[str, str] = field(default_factory=dict)

    def ask(self, epoch: int, hold: Hold) -> Admitted | Short | bool:
        """The answer; a bool says that there is no copy, and whether the asker may load it."""
        copy = self.copies.get(hold.account_id)
        if copy is not None and copy.epoch == epoch:
            return copy.admit(hold)
        if copy is not None and copy.epoch > epoch:
            return False
        self.copies.pop(hold.account_id, None)
        return hold.account_id not in self.loading

    def tend(self, epoch: int, call: LeaseCall) -> Leased | None:
        """The answer to a call of a lease; a copy of another epoch has nothing to lease."""
        copy = self.copies.get(call.hold.account_id)
        return None if copy is None else copy.tend(call, current=copy.epoch == epoch)

    def publish(self, publications: Sequence[Publication]) -> None:
        """Tell copies; a load under way is void."""
        for said in publications:
            self.loading.pop(said.account_id, None)
            if said.account_id in self.copies:
                self.copies[said.account_id].apply(said)

    def rest(self) -> None:
        """Rights to load end, and leases that were called back are granted again."""
        self.loading.clear()
        for copy in self.copies.values():
            copy.called_back = False

    def drop(self, account: str) -> None:
        """Forget an account."""
        self.copies.pop(account, None)
        self.loading.pop(account, None)


def _amount(held: Record | ReferenceLease) -> int:
    return held.amount if isinstance(held, ReferenceLease) else held.amount_nanos
