"""What the model of money is made of: accounts, an installation, workers, values of the ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from billing.ledger import Settlement
from billing.reservations import Budget, Hold, JournalRow, Truth, parse_record
from billing.stores.protocol import HotStore
from tests.contract.ledger_bench import CHARGING_ROUTE, KEY, LedgerBench
from tests.model.money_worker import ModelWorker
from tests.model.reference_hot import ReferenceCopy
from tests.model.reference_ledger import DAY_S, PROFILE, Content, Reservation

START_S = 1_760_000_000
LIFETIME_S = 600
UNCLEAR_S = 5
"""Life of a reservation whose reply was lost: it will not run."""
WEEK_S = 7 * DAY_S
ACCOUNTS: Mapping[str, int] = {
    "0198c0de-0000-7000-8000-00000000000a": 0,
    "0198c0de-0000-7000-8000-00000000000b": 70,
}
"""Accounts and their overdrafts."""
NAMES = tuple(ACCOUNTS)
OPENING = 300
"""What each account has at first: enough for a few requests, not for many."""
FLIGHT_LIMIT = 12
"""Requests at once: a lease takes one at a time, as long as a third is left."""


class Installation(Protocol):
    """Empty stores, as two workers and a settler see them."""

    @property
    def workers(self) -> Sequence[HotStore]:
        """The hot copy, once for each worker."""

    @property
    def ledger(self) -> LedgerBench:
        """The ledger."""

    async def flush(self) -> None:
        """Lose the hot copy."""

    async def rest(self) -> None:
        """Let time pass for the hot copy: rights to load end, call-backs are over."""

    async def close(self) -> None:
        """Let go of every server."""


@dataclass
class Load:
    """A copy that is being built: the right to it and, once read, the truth. ``unheard`` is what
    nobody could journal until then, because its worker counts as dead."""

    account: str
    loader: ModelWorker
    epoch: int
    token: str
    since_s: float
    truth: Truth | None = None
    unheard: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ask:
    """What one request asks for.

    With ``beyond`` it asks for all that the balance covers and so many nanos more; ``more`` is what
    its quote is above its hold.
    """

    account: str
    amount: int
    beyond: int | None
    more: int
    shares: frozenset[str]
    charging: bool
    reply_lost: bool

    def hold(self, ident: str, clock_s: int, window_s: int) -> Hold:
        """The hold that a worker asks for whose clock stands at ``clock_s``."""
        offered = {
            "units": Budget(f"units:{PROFILE}", window_s, 80, 4),
            "day": Budget(f"day:{PROFILE}", clock_s // DAY_S * DAY_S, 250, self.amount),
            "flight": Budget(f"flight:{PROFILE}", 0, FLIGHT_LIMIT, 1),
        }
        budgets = tuple(budget for kind, budget in offered.items() if kind in self.shares)
        pool = "|".join([self.account, *(f"{b.name}~{b.window_s}" for b in budgets)])
        return Hold(ident, self.account, self.amount, clock_s + LIFETIME_S, budgets, None, "", pool)

    def reservation(self, hold: Hold, clock_s: int, *, admitted: bool) -> Reservation:
        """The reservation as the reference keeps it; one that never runs ends soon."""
        return Reservation(
            hold.reservation_id,
            self.account,
            self.amount,
            self.amount + self.more,
            self.charging,
            clock_s * 1_000_000,
            clock_s + UNCLEAR_S if self.reply_lost else hold.expires_s,
            hold.record(),
            admitted,
        )


def journal_row(one: Reservation) -> JournalRow:
    """What a worker writes of an admitted reservation."""
    return JournalRow(
        reservation_id=one.ident,
        account_id=one.account,
        key_id=KEY,
        profile=PROFILE,
        route=CHARGING_ROUTE if one.charges_on_expiry else "chat",
        price_version="v1",
        held_nanos=one.amount,
        quoted_nanos=one.quote,
        record=one.record,
        basis="{}",
        admitted_us=one.admitted_us,
        expires_s=one.expires_s,
    )


def settlement(one: Reservation, content: Content) -> Settlement:
    """The priced entry of a reservation; everything but the content comes from its ticket."""
    row = journal_row(one)
    return Settlement(
        reservation_id=row.reservation_id,
        account_id=row.account_id,
        key_id=row.key_id,
        profile=row.profile,
        route=row.route,
        meter="tokens",
        model="m",
        price_version=row.price_version,
        outcome="answered" if content.billed else "not_answered",
        status="billed",
        billed=content.billed,
        units=content.units,
        price_nanos=content.price,
        provider_cost_nanos=content.cost,
        held_nanos=row.held_nanos,
        quoted_nanos=row.quoted_nanos,
        record=row.record,
        formula="",
        review="",
        facts="{}",
        admitted_us=row.admitted_us,
        completed_us=row.admitted_us + 1,
        expires_s=row.expires_s,
    )


def built_copy(epoch: int, truth: Truth) -> ReferenceCopy:
    """The copy that a load of this truth has to make."""
    copy = ReferenceCopy(epoch, truth.posted_nanos, truth.overdraft_nanos, truth.version)
    copy.use(truth.used)
    for ident, record in truth.pending:
        copy.hold(ident, record)
    return copy


def unaged(records: Mapping[str, str]) -> dict[str, tuple[object, ...]]:
    """Amount and shares of records, without their end of life, which may be told in between."""
    parsed = {ident: parse_record(record) for ident, record in records.items()}
    return {ident: (record.amount_nanos, record.shares) for ident, record in parsed.items()}
