"""The double-entry ledger: chart of accounts, transfers, and the hash chain over batches.

Each transfer moves an amount above zero from one ledger account (debit) to another (credit) in one
row, so debits equal credits by construction. A customer's prepaid credits are a liability of the
platform: a top-up credits them, a charge debits them.

=========== ================= ================= ============================================
kind        debit             credit            meaning
=========== ================= ================= ============================================
topup       platform cash     customer credits  prepaid money came in
charge      customer credits  platform revenue  the price of one settled request
cost        platform cost     platform payable  what the provider takes for that request
expiry      customer credits  platform revenue  the quote, charged when no log entry came
refund      platform revenue  customer credits  an expiry charge given back when the log came
correction  either way        either way        a person put something right
=========== ================= ================= ============================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from billing.money import MAX_NANOS
from billing.reservations import Publication

LedgerCode = Literal["credits", "cash", "revenue", "cost", "payable"]
TransferKind = Literal["topup", "charge", "cost", "expiry", "refund", "correction"]
Outcome = Literal["answered", "cut_short", "no_usage", "not_answered", "expired"]
UsageStatus = Literal["billed", "needs_review", "late"]

PLATFORM = "00000000-0000-0000-0000-000000000000"
"""The account whose ledger accounts are the platform's own: cash, revenue, cost, payable."""

CHART: Mapping[TransferKind, tuple[LedgerCode, LedgerCode]] = MappingProxyType(
    {
        "topup": ("cash", "credits"),
        "charge": ("credits", "revenue"),
        "cost": ("cost", "payable"),
        "expiry": ("credits", "revenue"),
        "refund": ("revenue", "credits"),
    }
)
"""Debit and credit of each kind; a correction names its own."""

GENESIS = bytes(32)
"""The hash before the first batch."""


class Transfer(NamedTuple):
    """One row of the ledger. ``source_id`` is the reservation or the top-up that caused it.

    ``account_id`` is the customer on whose behalf it is made, also where both sides are the
    platform's.
    ``(account_id, source_id, kind)`` is unique. ``created_us`` is Unix time in microseconds.
    """

    account_id: str
    source_id: str
    kind: TransferKind
    debit_code: LedgerCode
    credit_code: LedgerCode
    amount_nanos: int
    created_us: int

    def line(self) -> bytes:
        """The canonical text that the hash chain covers; changing any field changes it."""
        account_id, source_id, kind, debit_code, credit_code, amount, created_us = self
        return (
            f"{account_id}\t{source_id}\t{kind}\t{debit_code}\t{credit_code}\t{amount}\t{created_us}"
        ).encode()


def make_transfer(
    account_id: str, source_id: str, kind: TransferKind, amount_nanos: int, created_us: int
) -> Transfer:
    """A transfer along the chart; asserts that the amount is above zero and within bounds."""
    assert 0 < amount_nanos <= MAX_NANOS, (kind, amount_nanos)
    debit, credit = CHART[kind]
    return Transfer(account_id, source_id, kind, debit, credit, amount_nanos, created_us)


def chain_hash(previous: bytes, lines: Iterable[bytes]) -> bytes:
    """The hash of a batch: SHA-256 over the hash before it and its lines in canonical order.

    Each line is preceded by its length, so that no two sets of lines run into the same bytes.
    """
    parts = [previous]
    for line in sorted(lines):
        parts += (len(line).to_bytes(8, "big"), line)
    return hashlib.sha256(b"".join(parts)).digest()


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """One access-log entry, priced: how its reservation ends and what it costs.

    ``billed`` is False for an outcome that is released without a charge. ``provider_cost_nanos`` is
    ``None`` where nobody knows it. ``facts`` is JSON text: what pricing was given. ``record`` is
    the reservation's hold record. Times are Unix microseconds.
    """

    reservation_id: str
    account_id: str
    key_id: str
    profile: str
    route: str
    meter: str
    model: str
    price_version: str
    outcome: Outcome
    status: UsageStatus
    billed: bool
    units: int
    price_nanos: int
    provider_cost_nanos: int | None
    held_nanos: int
    quoted_nanos: int
    record: str
    formula: str
    review: str
    facts: str
    admitted_us: int
    completed_us: int
    expires_s: int

    def __post_init__(self) -> None:
        assert 0 <= self.price_nanos <= MAX_NANOS, self
        assert self.billed or self.price_nanos == 0, self
        assert self.units >= 0, self

    def content_hash(self) -> bytes:
        """What makes two entries of one reservation the same: outcome, price, cost and units."""
        text = (
            f"({self.reservation_id!r}, {self.account_id!r}, {self.outcome!r}, {self.units},"
            f" {self.price_nanos}, {self.provider_cost_nanos})"
        )
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class SettledBatch:
    """What one committed batch did.

    ``conflicts`` are the reservations that came again with another content; they went to
    quarantine.
    """

    batch_id: int
    settled: int
    released: int
    late: int
    duplicates: int
    conflicts: tuple[str, ...]
    charged_nanos: int
    publications: tuple[Publication, ...]
