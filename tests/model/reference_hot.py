"""A hot copy as anybody would work it out: what is held is added up anew at each question."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from billing.reservations import (
    CREDITS,
    Admitted,
    Budget,
    Hold,
    Publication,
    Short,
    Used,
    parse_record,
)


@dataclass
class ReferenceCopy:
    """One account as of a version; ``used`` maps a budget to its window and what is used of it."""

    epoch: int
    posted: int
    overdraft: int
    version: int
    used: dict[str, tuple[int, int]] = field(default_factory=dict)
    live: dict[str, str] = field(default_factory=dict)

    @property
    def available(self) -> int:
        held = sum(parse_record(record).amount_nanos for record in self.live.values())
        return self.posted + self.overdraft - held

    def left(self, budget: Budget) -> int:
        """What can still be had of a counted budget."""
        window, used = self.used.get(budget.name, (budget.window_s, 0))
        if window < budget.window_s:
            return budget.limit
        shares = (share for record in self.live.values() for share in parse_record(record).shares)
        held = sum(s.amount for s in shares if (s.name, s.window_s) == (budget.name, window))
        return budget.limit - used - held

    def admit(self, hold: Hold) -> Admitted | Short:
        """Hold it, once, if every budget covers it."""
        if hold.reservation_id in self.live:
            return Admitted(self.available)
        for budget in hold.budgets:
            if self.left(budget) < budget.amount:
                return Short(budget.name, self.left(budget), budget.limit)
        if hold.amount_nanos and self.available < hold.amount_nanos:
            return Short(CREDITS, self.available, hold.amount_nanos)
        self.hold(hold.reservation_id, hold.record())
        return Admitted(self.available)

    def hold(self, ident: str, record: str) -> None:
        """Take a reservation; its shares may open newer windows."""
        self.live[ident] = record
        self.use(Used(share.name, share.window_s, 0) for share in parse_record(record).shares)

    def use(self, counts: Iterable[Used]) -> None:
        """Within a window usage only grows; a newer window starts from what is said of it."""
        for name, window_s, used in counts:
            self.used[name] = max(self.used.get(name, (window_s, 0)), (window_s, used))

    def apply(self, said: Publication) -> None:
        """Take what is newer, and let go of what has ended."""
        if said.version > self.version:
            self.posted, self.overdraft = said.posted_nanos, said.overdraft_nanos
            self.version = said.version
        self.use(said.used)
        for ident in said.ended:
            self.live.pop(ident, None)


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

    def publish(self, publications: Sequence[Publication]) -> None:
        """Tell copies; a load under way is void."""
        for said in publications:
            self.loading.pop(said.account_id, None)
            if said.account_id in self.copies:
                self.copies[said.account_id].apply(said)

    def drop(self, account: str) -> None:
        """Forget an account."""
        self.copies.pop(account, None)
        self.loading.pop(account, None)
