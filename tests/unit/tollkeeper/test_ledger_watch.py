"""When the ledger is checked next, judged by the verdicts that there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing.stores.postgres_verdicts import Verdict
from tollkeeper.ledger_report import LedgerReport, Proof
from tollkeeper.ledger_verdict import verdict_of
from tollkeeper.ledger_watch import Due, WatchLimits, next_check

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
LIMITS = WatchLimits(interval_s=300, whole_interval_s=86_400, deadline_s=3_600)


def verdict(*, whole: bool, ago_s: float, took_ms: int = 10) -> Verdict:
    ended = NOW - timedelta(seconds=ago_s)
    return Verdict(whole, 0, 1, (), (), (), "ledger check: ok", "anna", took_ms, ended)


@pytest.mark.parametrize(
    ("newest", "due"),
    [
        ([], Due(0, whole=True)),
        ([verdict(whole=True, ago_s=100)], Due(200, whole=False)),
        ([verdict(whole=True, ago_s=300)], Due(0, whole=False)),
        ([verdict(whole=True, ago_s=90_000)], Due(0, whole=True)),
        ([verdict(whole=False, ago_s=400)], Due(0, whole=True)),
        ([verdict(whole=True, ago_s=90_000), verdict(whole=False, ago_s=10)], Due(290, whole=True)),
        ([verdict(whole=True, ago_s=900), verdict(whole=False, ago_s=310)], Due(0, whole=False)),
    ],
)
def test_what_is_new_is_due_after_the_interval_and_the_whole_after_its_own(
    newest: list[Verdict], due: Due
) -> None:
    """Whoever checked last, by hand or not, the interval begins there."""
    assert next_check(newest, NOW, LIMITS) == due


def test_a_slow_check_is_followed_by_a_longer_rest() -> None:
    """Nine times what it took, so that checking takes a tenth of the time; a whole has its own."""
    slow = verdict(whole=False, ago_s=300, took_ms=100_000)
    whole = verdict(whole=True, ago_s=500, took_ms=3_000_000)
    assert next_check([whole, slow], NOW, LIMITS) == Due(600, whole=False)


def test_a_clock_that_ran_ahead_delays_one_interval_at_most() -> None:
    """A verdict from the future is no reason to wait for that future."""
    assert next_check([verdict(whole=True, ago_s=-9_999)], NOW, LIMITS) == Due(300, whole=False)


def test_verdict_keeps_what_was_broken_and_what_was_not_looked_at() -> None:
    """Numbers of invariants, the first broken row in words, and whether it was the whole."""
    proofs = (
        Proof(1),
        Proof(2, "", "row", "how"),
        Proof(4, "", "table", "open", of_now=True),
        Proof(7, skipped="no Redis"),
    )
    kept = verdict_of(LedgerReport(5, 9, proofs), checked_by="anna", took_s=1.5, checked_at=NOW)
    assert (kept.whole, kept.since_batch, kept.through_batch) == (False, 5, 9)
    assert (list(kept.broken), list(kept.skipped), kept.took_ms) == ([2, 4], [7], 1500)
    assert list(kept.broken_now) == [4]
    assert kept.text == "ledger check: invariant 2 is broken: row: how"


@pytest.mark.parametrize(
    ("proof", "goes_on"),
    [
        (Proof(8, "", "batch 3", "was changed"), False),
        (Proof(7, "", "account a", "differs", of_now=True), True),
        (Proof(8), True),
    ],
)
def test_what_is_broken_now_does_not_hold_the_check_back(proof: Proof, goes_on: bool) -> None:
    """Batches that break nothing need not be read again because Redis differs meanwhile."""
    assert LedgerReport(0, 9, (Proof(1), proof)).batches_in_order is goes_on
