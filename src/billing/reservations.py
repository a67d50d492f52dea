"""Reservations: credits and quota held before a request runs, and ended exactly once after it.

A reservation is *pending* from its admission. Its access-log entry ends it as *settled* (billed) or
*released* (not billed). When the entry does not come within the lifetime it ends as *expired*, and
if the entry comes after all it becomes *late*. Whatever else arrives for an ended reservation is a
duplicate and changes nothing. The table says it all; a test walks every pair.

Admission is one step over all *budgets* of a request: the credits of the account, and any number of
counted windows (period quota, spend caps, requests in flight). The hot copy keeps, for each budget,
its window, what is used and what is held; ``used + held + amount <= limit`` admits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from billing.money import MAX_NANOS
from billing.rate import Rate, RateLeft

State = Literal["pending", "settled", "released", "expired", "late"]
Event = Literal["billed", "not_billed", "lifetime_over"]

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        ("pending", "billed"): "settled",
        ("pending", "not_billed"): "released",
        ("pending", "lifetime_over"): "expired",
        ("expired", "billed"): "late",
        ("expired", "not_billed"): "late",
    }
)
"""Every move there is; a pair that is not here leaves the reservation as it is."""

MAX_COUNTED = 2**53 - 1
"""Limit of a counted budget: the hot copy compares them in Lua, whose numbers are doubles."""

CREDITS = "credits"
"""The name by which a shortage of credits is told; never the name of a counted budget."""


class Budget(NamedTuple):
    """One counted bound of a request.

    ``name`` is ``kind:profile`` with a kind of :data:`BUDGET_KINDS`; ``window_s`` is the start of
    the window in Unix seconds (0 for a bound without windows); ``amount`` is in the budget's own
    unit.
    """

    name: str
    window_s: int
    limit: int
    amount: int


BUDGET_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "units": "quota_exceeded",
        "period": "quota_exceeded",
        "day": "spend_cap_reached",
        "flight": "too_many_in_flight",
    }
)
"""Kinds of counted budgets (units per period, nano-USD per period, nano-USD per day, requests at
once) and the refusal that each leads to."""


class Hold(msgspec.Struct, frozen=True):
    """What one request asks of its account: an amount of credits and a share of each budget, and
    its turn where the rate is limited in the same step."""

    reservation_id: str
    account_id: str
    amount_nanos: int
    expires_s: int
    budgets: tuple[Budget, ...] = ()
    rate: Rate | None = None
    shares: str = ""
    """The budgets as :func:`write_shares` writes them; empty: not written yet."""
    pool: str = ""
    """What holds have in common that may come from one lease: account, budgets and windows, rate;
    empty for one that never does."""

    def __post_init__(self) -> None:
        assert 0 <= self.amount_nanos <= MAX_NANOS, self
        if not self.shares:
            check_budgets(self.budgets)

    def record(self) -> str:
        """The reservation as kept in the hot copy, the journal and the ticket.

        ``amount|expires|name~window~amount|...``; names hold neither ``|`` nor ``~``.
        """
        shares = self.shares or write_shares(self.budgets)
        return f"{self.amount_nanos}|{self.expires_s}{shares}"


def check_budgets(budgets: Sequence[Budget]) -> None:
    """Assert that the hot copy can count them."""
    for budget in budgets:
        assert 0 <= budget.amount <= MAX_COUNTED >= budget.limit, budget


def write_shares(budgets: Sequence[Budget]) -> str:
    """The part of a record that says which budgets hold how much."""
    check_budgets(budgets)
    return "".join([f"|{name}~{window}~{amount}" for name, window, _, amount in budgets])


class Share(NamedTuple):
    """What a live reservation holds of one counted budget."""

    name: str
    window_s: int
    amount: int


class Record(NamedTuple):
    """A parsed :meth:`Hold.record`."""

    amount_nanos: int
    expires_s: int
    shares: tuple[Share, ...]


def parse_record(text: str) -> Record:
    """Read what :meth:`Hold.record` wrote; ``ValueError`` when it did not."""
    amount, expires, *shares = text.split("|")
    return Record(int(amount), int(expires), tuple(_parse_share(share) for share in shares))


def _parse_share(text: str) -> Share:
    name, window, amount = text.split("~")
    return Share(name, int(window), int(amount))


class Admitted(msgspec.Struct, frozen=True):
    """The hold stands; ``available_nanos`` is what the account has left besides it.

    ``local`` is True when the hot copy was away and the hold was taken from a bounded allowance.
    ``rate`` is what is left of the rate, where the hold had one and was not made before.
    """

    available_nanos: int
    local: bool = False
    rate: RateLeft | None = None


@dataclass(frozen=True, slots=True)
class Short:
    """One budget does not cover the request, so nothing at all was held.

    ``budget`` is :data:`CREDITS` or a counted budget's name; ``left`` is what could still be had
    of it and ``limit`` its bound (for credits both are in nano-USD, ``limit`` being the amount
    needed). A rate is named ``rate:PROFILE``, its limit is the burst, and ``wait_us`` is when the
    next request may come. ``leased``: others may hold more of it in leases, which were called back;
    who asks again soon may have it.
    """

    budget: str
    left: int
    limit: int
    wait_us: int = 0
    leased: bool = False


@dataclass(frozen=True, slots=True)
class Undecided:
    """The hot copy could not be asked, and the route's posture allows no answer without it."""

    reason: str


Admission = Admitted | Short | Undecided


class Used(NamedTuple):
    """What is used of one counted budget in one window, as Postgres says."""

    name: str
    window_s: int
    used: int


@dataclass(frozen=True, slots=True)
class Publication:
    """What Postgres says of an account at ``version``, and which reservations have ended.

    Absolute values: publishing twice, late or out of order is harmless, because an older version
    never overwrites a newer one and an ended reservation is removed once.
    """

    account_id: str
    posted_nanos: int
    overdraft_nanos: int
    version: int
    used: tuple[Used, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """An account as one snapshot of Postgres has it: what the hot copy is built from."""

    account_id: str
    posted_nanos: int
    overdraft_nanos: int
    version: int
    used: Sequence[Used]
    pending: Sequence[tuple[str, str]]
    """Live reservations: id and record."""
    leases: Sequence[tuple[str, str]] = ()
    """What is left of leases, in the hot copy: id and record."""


def publication_of(truth: Truth, ended: tuple[str, ...] = ()) -> Publication:
    """All that a snapshot says of an account, to be published."""
    return Publication(
        truth.account_id,
        truth.posted_nanos,
        truth.overdraft_nanos,
        truth.version,
        tuple(truth.used),
        ended,
    )


class JournalRow(NamedTuple):
    """One admitted reservation on its way to Postgres."""

    reservation_id: str
    account_id: str
    key_id: str
    profile: str
    route: str
    price_version: str
    held_nanos: int
    quoted_nanos: int
    record: str
    basis: str
    admitted_us: int
    expires_s: int
