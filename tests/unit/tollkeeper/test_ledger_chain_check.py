"""Shapes of transfers and links of the chain, judged without a database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from billing.ledger import CHART, GENESIS, PLATFORM, Transfer, chain_hash, make_transfer
from billing.money import MAX_NANOS
from billing.stores.postgres_check import NOTHING_CHECKED, BatchLines, Checked
from tollkeeper.ledger_chain_check import ChainWalk, chain_proofs, flaw_of

ACCOUNT = "0198c0de-0000-7000-8000-00000000000a"
SOURCE = "0198c0de-0000-7000-8000-0000000000ff"


@pytest.mark.parametrize("kind", list(CHART))
def test_transfer_along_the_chart_has_no_flaw(kind: str) -> None:
    """What make_transfer makes is what the check accepts."""
    assert flaw_of(make_transfer(ACCOUNT, SOURCE, kind, 1, 1)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("debit", "credit", "fits"),
    [
        ("credits", "revenue", True),
        ("revenue", "credits", True),
        ("credits", "cash", True),
        ("cash", "credits", True),
        ("credits", "payable", False),
        ("cash", "revenue", False),
    ],
)
def test_correction_goes_either_way_against_cash_or_revenue(
    debit: str, credit: str, fits: bool
) -> None:
    """A correction is of a customer's credits, and nothing else of the platform's."""
    transfer = Transfer(ACCOUNT, SOURCE, "correction", debit, credit, 1, 1)  # type: ignore[arg-type]
    assert (flaw_of(transfer) is None) is fits


@dataclass(frozen=True)
class _Other:
    """A transfer with one field changed, and what is said of it."""

    fields: dict[str, Any]
    said: str


@pytest.mark.parametrize(
    "other",
    [
        _Other({"debit_code": "cash"}, "moves from cash"),
        _Other({"amount_nanos": 0}, "amount 0"),
        _Other({"amount_nanos": MAX_NANOS + 1}, "amount"),
        _Other({"account_id": PLATFORM}, "platform"),
        _Other({"kind": "gift"}, "moves"),
    ],
)
def test_flaw_is_named(other: _Other) -> None:
    """Sides, amount, owner and kind are each judged."""
    flaw = flaw_of(make_transfer(ACCOUNT, SOURCE, "charge", 1, 1)._replace(**other.fields))
    assert flaw is not None
    assert other.said in flaw.what


def test_walk_sums_both_sides() -> None:
    """Totals by code go on from where the last check ended."""
    since = replace(NOTHING_CHECKED, totals={"cash": (10, 0), "credits": (0, 10)})
    walk = ChainWalk.after(since)
    walk.take(_batch(1, GENESIS, make_transfer(ACCOUNT, SOURCE, "topup", 5, 1)))
    assert walk.summed() == {"cash": (15, 0), "credits": (0, 15)}
    assert all(proof.holds for proof in chain_proofs(walk))


def test_first_flaw_is_kept() -> None:
    """Of several broken batches the first is named, and the walk goes on to the end."""
    walk = ChainWalk.after(Checked(0, GENESIS, {}))
    good = _batch(1, GENESIS, make_transfer(ACCOUNT, SOURCE, "topup", 5, 1))
    walk.take(good._replace(hash=bytes([1] * 32)))
    walk.take(_batch(3, GENESIS))
    _, chained = chain_proofs(walk)
    assert (walk.batches, chained.broken_row) == (2, "batch 1")


def _batch(batch_id: int, previous: bytes, *transfers: Transfer) -> BatchLines:
    digest = chain_hash(previous, [transfer.line() for transfer in transfers])
    return BatchLines(batch_id, len(transfers), 0, previous, digest, transfers, ())
