"""What people read: balances, usage, statements, and why a request cost what it did.

Amounts are nano-USD, times aware ``datetime`` in UTC. A report is one snapshot of Postgres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from billing.errors import InvalidInput
from billing.ledger import LedgerCode, TransferKind
from billing.reservations import State

UsageBy = Literal["day", "profile", "route", "model", "key"]
MAX_SPAN = timedelta(days=3_660)
FIRST_DAY = date(2000, 1, 1)
LAST_DAY = date(2200, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days in UTC: from the begin of ``since`` to the begin of ``until``."""

    since: date
    until: date

    def __post_init__(self) -> None:
        if not FIRST_DAY <= self.since < self.until <= LAST_DAY:
            raise InvalidInput(
                f"the span {self.since} to {self.until} is empty or outside of the calendar of "
                f"{FIRST_DAY.year} to {LAST_DAY.year}; its last day is not part of it"
            )
        if self.until - self.since > MAX_SPAN:
            raise InvalidInput(f"a report covers at most {MAX_SPAN.days} days")

    @property
    def since_us(self) -> int:
        """Its begin in Unix microseconds."""
        return _day_us(self.since)

    @property
    def until_us(self) -> int:
        """Its end, which is not part of it, in Unix microseconds."""
        return _day_us(self.until)


def _day_us(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1_000_000


@dataclass(frozen=True, slots=True)
class Balance:
    """``available = posted + overdraft - held``, where held is what pending reservations hold."""

    account_id: str
    posted_nanos: int
    overdraft_nanos: int
    held_nanos: int

    @property
    def available_nanos(self) -> int:
        """What a new request could still hold."""
        return self.posted_nanos + self.overdraft_nanos - self.held_nanos


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Settled requests that were admitted on a day, by what the report was asked to tell apart.

    Fields that it was not asked for are empty. ``provider_cost_nanos`` sums what is known.
    """

    day: str
    profile: str
    route: str
    model: str
    key_id: str
    requests: int
    units: int
    price_nanos: int
    provider_cost_nanos: int
    needs_review: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A movement of an account's credits; the balance is the one after it.

    A line sums ``requests`` of a UTC day, or is a single one with its id, or an order of money with
    its reference. ``at`` is the time of posting, of the last one where it sums.
    """

    at: datetime
    id: str
    kind: TransferKind
    text: str
    requests: int
    units: int
    amount_nanos: int
    balance_nanos: int


@dataclass(frozen=True, slots=True)
class Statement:
    """An account over a span; lines come in pages, opening and closing are those of the span."""

    account_id: str
    account_name: str
    span: Span
    opening_nanos: int
    lines: Sequence[StatementLine]
    closing_nanos: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """A reservation as Postgres has it."""

    id: str
    account_id: str
    key_id: str
    profile: str
    route: str
    price_version: str
    state: State
    held_nanos: int
    quoted_nanos: int
    admitted_at: datetime
    expires_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One transfer, as an account's books show it."""

    account_id: str
    source_id: str
    kind: TransferKind
    debit_code: LedgerCode
    credit_code: LedgerCode
    amount_nanos: int
    batch_id: int
    posted_at: datetime
    reference: str | None


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """A settled request: what it used, what it cost, and the formula with its numbers."""

    id: str
    account_id: str
    key_id: str
    profile: str
    route: str
    meter: str
    model: str
    price_version: str
    outcome: str
    status: str
    units: int
    price_nanos: int
    provider_cost_nanos: int | None
    review: str
    formula: str
    facts: Mapping[str, Any]
    admitted_at: datetime
    completed_at: datetime
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """An entry that could not be settled and was kept; ``seen`` counts how often it came."""

    id: int
    account_id: str | None
    reservation_id: str | None
    reason: str
    entry: str
    seen: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of one request; ``event`` is ``None`` until it is settled with a charge."""

    reservation: ReservationRow
    event: UsageEvent | None
    entries: Sequence[LedgerEntry]
    quarantined: Sequence[QuarantineItem]
    price_effective_from: datetime | None
    tariffs: Mapping[str, Any]
