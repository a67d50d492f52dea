"""From the report of a check to the verdict that is kept of it."""

from __future__ import annotations

from datetime import datetime

from billing.stores.postgres_verdicts import Verdict
from tollkeeper.ledger_report import LedgerReport


def verdict_of(
    report: LedgerReport, *, checked_by: str, took_s: float, checked_at: datetime
) -> Verdict:
    """What is kept; a check that began at the first batch is one of the whole, asked for or not."""
    return Verdict(
        whole=report.since_batch == 0,
        since_batch=report.since_batch,
        through_batch=report.through_batch,
        broken=[proof.invariant for proof in report.proofs if not proof.holds],
        broken_now=[p.invariant for p in report.proofs if not p.holds and p.of_now],
        skipped=[proof.invariant for proof in report.proofs if proof.skipped],
        text=report.verdict,
        checked_by=checked_by,
        took_ms=round(took_s * 1000),
        checked_at=checked_at,
    )
