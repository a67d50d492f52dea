"""The ledger as anybody would add it up: plain integers, no store, no trick."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from billing.reservations import TRANSITIONS, Event, State

DAY_S = 86_400
PROFILE = "llm"


class Content(NamedTuple):
    """What an access-log entry says of money."""

    billed: bool
    price: int
    units: int
    cost: int | None


class Outcome(NamedTuple):
    """What a batch has to do."""

    settled: int
    released: int
    late: int
    duplicates: int
    conflicts: frozenset[str]
    charged: int
    ended: Mapping[str, frozenset[str]]


@dataclass
class Reservation:
    """One request that asked for credits.

    ``admitted`` says that the hot copy held it, ``known`` that the ledger has heard of it.
    """

    ident: str
    account: str
    amount: int
    quote: int
    charges_on_expiry: bool
    admitted_us: int
    expires_s: int
    record: str
    admitted: bool = True
    known: bool = False
    state: State = "pending"
    content: Content | None = None
    expiry_charge: int = 0

    @property
    def live_amount(self) -> int:
        """What it takes of the balance until it ends."""
        return self.amount if self.admitted and self.state == "pending" else 0


@dataclass
class Account:
    """All that was ever paid in and spent.

    ``unforeseen`` adds up what came to be owed beyond what was held for it (usage above its
    reservation, entries of reservations that had expired): no admission could have refused that.
    """

    overdraft: int
    paid: int = 0
    spent: int = 0
    version: int = 0
    unforeseen: int = 0

    @property
    def posted(self) -> int:
        return self.paid - self.spent


@dataclass
class ReferenceLedger:
    """What Postgres has to say; periods are equally long, one after the other."""

    period_start_s: int
    period_s: int
    accounts: dict[str, Account] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    references: dict[tuple[str, str], int] = field(default_factory=dict)
    used: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    put_aside: set[tuple[str, Content]] = field(default_factory=set)
    batches: int = 0

    def window(self, at_s: int) -> int:
        """The start of the period that a time lies in."""
        return self.period_start_s + (at_s - self.period_start_s) // self.period_s * self.period_s

    def topup(self, account: str, amount: int, reference: str) -> str:
        """Pay in once per reference: ``posted``, ``repeated`` or ``conflict``."""
        paid = self.references.get((account, reference))
        if paid is not None:
            return "repeated" if paid == amount else "conflict"
        self.references[account, reference] = amount
        self.accounts[account].paid += amount
        self.accounts[account].version += 1
        self.batches += 1
        return "posted"

    def pending(self, account: str) -> dict[str, str]:
        """Id and record of the reservations that a rebuilt copy has to hold."""
        return {
            one.ident: one.record
            for one in self.reservations.values()
            if one.account == account and one.known and one.state == "pending"
        }

    def live(self, account: str) -> int:
        """All that was admitted and has not ended."""
        return sum(one.live_amount for one in self.reservations.values() if one.account == account)

    def in_flight(self, account: str) -> int:
        """How many of those take a place among so many at once."""
        return sum(
            f"|flight:{PROFILE}~" in one.record
            for one in self.reservations.values()
            if one.account == account and one.admitted and one.state == "pending"
        )

    def counted(self, account: str, now_s: int) -> set[tuple[str, int]]:
        """Budgets of the running windows of which something is used."""
        windows = {
            (f"units:{PROFILE}", self.window(now_s)),
            (f"period:{PROFILE}", self.window(now_s)),
            (f"day:{PROFILE}", now_s // DAY_S * DAY_S),
        }
        return {(name, start_s) for name, start_s in windows if self.used[account, name, start_s]}

    def settle(self, entries: Mapping[str, Content], now_s: int) -> Outcome:
        """End reservations by their entries, each once."""
        states: Counter[State] = Counter()
        duplicates, charged, conflicts, ended = 0, 0, set(), list[Reservation]()
        for ident, content in entries.items():
            one = self.reservations[ident]
            event: Event = "billed" if content.billed else "not_billed"
            following = TRANSITIONS.get((one.state, event))
            if following is not None:
                self._end(one, following, content, now_s)
                states[following] += 1
                charged += content.price
                ended.append(one)
            elif one.content == content:
                duplicates += 1
            else:
                conflicts.add(ident)
                self.put_aside.add((ident, content))
        return Outcome(
            states["settled"],
            states["released"],
            states["late"],
            duplicates,
            frozenset(conflicts),
            charged,
            self._batch(ended),
        )

    def expire(self, now_s: int) -> Outcome:
        """End everything that is overdue; a route may charge its quote."""
        overdue = [
            one
            for one in self.reservations.values()
            if one.known and one.state == "pending" and one.expires_s <= now_s
        ]
        charged = 0
        for one in overdue:
            charge = one.quote if one.charges_on_expiry else 0
            held = one.live_amount
            one.state, one.expiry_charge = "expired", charge
            charged += charge
            self._spend(one.account, charge, held)
        ended = self._batch(overdue)
        return Outcome(0, len(overdue), 0, 0, frozenset(), charged, ended)

    def _end(self, one: Reservation, state: State, content: Content, now_s: int) -> None:
        held = one.live_amount
        given_back = one.expiry_charge if state == "late" else 0
        one.state, one.content, one.known = state, content, True
        self._spend(one.account, content.price - given_back, held)
        if content.billed:
            self._use(one, content, now_s)

    def _spend(self, account: str, amount: int, held: int) -> None:
        self.accounts[account].spent += amount
        self.accounts[account].unforeseen += max(0, amount - held)

    def _use(self, one: Reservation, content: Content, now_s: int) -> None:
        admitted_s = one.admitted_us // 1_000_000
        day = (one.account, f"day:{PROFILE}", admitted_s // DAY_S * DAY_S)
        self.used[day] += content.price
        if self.window(admitted_s) == self.window(now_s):
            self.used[one.account, f"units:{PROFILE}", self.window(now_s)] += content.units
            self.used[one.account, f"period:{PROFILE}", self.window(now_s)] += content.price

    def _batch(self, ended: Sequence[Reservation]) -> Mapping[str, frozenset[str]]:
        """A batch that ended something is a link of the chain and a version of its accounts."""
        accounts = {one.account for one in ended}
        self.batches += bool(ended)
        for account in accounts:
            self.accounts[account].version += 1
        return {
            account: frozenset(one.ident for one in ended if one.account == account)
            for account in accounts
        }
