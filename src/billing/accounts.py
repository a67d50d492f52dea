"""Accounts, keys, subscriptions and orders of money, as the people see them who look after them.

Amounts are nano-USD. Times are aware ``datetime`` in UTC. What the front door needs of the same
rows is :mod:`billing.subscriptions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from billing.errors import InvalidInput
from billing.money import MAX_NANOS, MAX_OVERDRAFT_NANOS
from billing.plans import Period
from billing.reservations import MAX_COUNTED
from billing.subscriptions import AccountStatus, AccountType, KeyStatus, SubscriptionStatus

OrderKind = Literal["topup", "correction"]
Against = Literal["cash", "revenue"]

MAX_NAME_CHARS = 200
MAX_WORD_CHARS = 60
"""Words of the configuration (routes, profiles, plans, price versions) and what names them: as long
as the database takes."""
MAX_SCOPES = 100
MAX_REASON_CHARS = 1000
MAX_PER_SECOND = 1_000_000

WORD = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_WORD_CHARS - 1}}}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")


def looks_like_id(text: str) -> bool:
    """Whether a text is an id rather than a name."""
    return _UUID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be created; ``InvalidInput`` when it can never be."""

    name: str
    type: AccountType = "personal"
    tier: str = "standard"
    wallet_address: str | None = None
    overdraft_nanos: int = 0

    def __post_init__(self) -> None:
        check_text("name", self.name, 1, MAX_NAME_CHARS)
        check_text("tier", self.tier, 1, MAX_WORD_CHARS)
        if self.wallet_address is not None:
            check_text("wallet address", self.wallet_address, 1, MAX_NAME_CHARS)
        if looks_like_id(self.name):
            raise InvalidInput("a name that looks like an id would be taken for one")
        check_range("overdraft", self.overdraft_nanos, 0, MAX_OVERDRAFT_NANOS)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. ``overdraft_nanos`` is how far below zero the balance may go."""

    id: str
    name: str
    type: AccountType
    tier: str
    status: AccountStatus
    wallet_address: str | None
    overdraft_nanos: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key to be created; ``scopes`` are route or profile names, none meaning all."""

    name: str = ""
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        check_text("name", self.name, 0, MAX_NAME_CHARS)
        if len(self.scopes) > MAX_SCOPES:
            raise InvalidInput(f"a key has at most {MAX_SCOPES} scopes, not {len(self.scopes)}")
        for scope in self.scopes:
            if WORD.fullmatch(scope) is None:
                raise InvalidInput(f"scope {scope!r} is no name of a route or profile")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise InvalidInput("the key's expiry needs a time zone")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it can be shown at any time: never the key, only its last four characters."""

    id: str
    account_id: str
    name: str
    display: str
    status: KeyStatus
    scopes: tuple[str, ...]
    expires_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    replaces: str | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its text, which nobody can read again.

    ``old_key_ends_at`` is set by a rotation: until then the replaced key works as well.
    """

    id: str
    key: str
    record: ApiKey
    old_key_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a subscription is set to. ``None`` keeps to the plan's own limit."""

    plan: str
    status: SubscriptionStatus = "active"
    units_limit: int | None = None
    rps_override: int | None = None
    burst_override: int | None = None
    billing_day: int = 1

    def __post_init__(self) -> None:
        check_range("billing day", self.billing_day, 1, 31)
        if self.units_limit is not None:
            check_range("units limit", self.units_limit, 0, MAX_COUNTED)
        for name in ("rps_override", "burst_override"):
            value = getattr(self, name)
            if value is not None:
                check_range(name.replace("_", " "), value, 1, MAX_PER_SECOND)


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription and what was used in its running period ``[period_start, period_end)``."""

    account_id: str
    profile: str
    plan: str
    status: SubscriptionStatus
    period: Period
    billing_day: int
    units_limit: int | None
    units_used: int
    spent_nanos: int
    period_start: datetime
    period_end: datetime
    rps_override: int | None
    burst_override: int | None


@dataclass(frozen=True, slots=True)
class Order:
    """Money that moves other than by a request; the reference makes it idempotent.

    A top-up is above zero. A correction may have either sign: above zero it gives credits back,
    below zero it takes them; ``against`` names the other side in the platform's books.
    """

    kind: OrderKind
    amount_nanos: int
    reference: str
    reason: str = ""
    against: Against = "cash"

    def __post_init__(self) -> None:
        check_text("reference", self.reference, 1, MAX_NAME_CHARS)
        check_text("reason", self.reason, 0, MAX_REASON_CHARS)
        lowest = 1 if self.kind == "topup" else -MAX_NANOS
        check_range(f"amount of a {self.kind}", self.amount_nanos, lowest, MAX_NANOS)
        if self.amount_nanos == 0:
            raise InvalidInput("an amount of 0 changes nothing")
        if self.kind == "topup" and self.against != "cash":
            raise InvalidInput("a top-up is paid in cash; use a correction for anything else")


@dataclass(frozen=True, slots=True)
class Posted:
    """An order in the ledger. ``repeated`` says that the reference had been posted before."""

    id: str
    account_id: str
    reference: str
    kind: OrderKind
    amount_nanos: int
    posted_nanos: int
    repeated: bool


def check_text(what: str, text: str, least_chars: int, most_chars: int) -> None:
    """Raise ``InvalidInput`` for a text that is too short, too long or not printable."""
    if not least_chars <= len(text) <= most_chars:
        raise InvalidInput(f"{what} has {least_chars} to {most_chars} characters, not {len(text)}")
    if not text.isprintable():
        raise InvalidInput(f"{what} may not hold control characters")


def check_range(what: str, value: int, least: int, most: int) -> None:
    """Raise ``InvalidInput`` for a number out of range."""
    if not least <= value <= most:
        raise InvalidInput(f"{what} lies between {least} and {most}, not at {value}")
