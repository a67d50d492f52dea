"""``tollkeeper ledger``: check the books, list entries, sum them up."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from billing.reports import LedgerEntry
from tollkeeper.cli.asking import AccountName, AsJson, Cursor, Limit, page_of
from tollkeeper.cli.doing import see, settings_here, user_name
from tollkeeper.cli.showing import show_json, show_page, show_table, usd
from tollkeeper.ledger_report import TITLES, LedgerReport, Progress, Proof

if TYPE_CHECKING:
    from tollkeeper.operations.desk import Desk

app = typer.Typer(no_args_is_help=True)

CHECK_STATEMENT_S = 3_600.0
"""One statement replays all transfers of years; an hour is far above what was ever measured."""


@app.command("check")
def check(
    full: Annotated[
        bool, typer.Option("--full", help="From the first batch, not from the last check.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove the eight invariants, or name the first row that breaks one."""
    report = asyncio.run(_check(full=full))
    if as_json:
        show_json(_as_json(report))
    else:
        _show(report)
    if report.first_broken is not None:
        raise typer.Exit(1)


@app.command("entries")
def entries(
    account: AccountName, limit: Limit = 100, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List the transfers made on behalf of an account."""
    from tollkeeper.operations import reports

    page = see(
        "ledger entries",
        lambda view: reports.ledger_entries(view, account, page_of(limit, cursor)),
    )
    heads = ("posted", "kind", "debit", "credit", "USD", "batch", "reference", "source")
    show_page(page, heads, _entry_row, as_json=as_json)


@app.command("totals")
def totals(as_json: AsJson = False) -> None:
    """Show the trial balance: what each kind of ledger account gave and took."""
    from tollkeeper.operations import reports

    found = see("ledger totals", reports.ledger_totals)
    if as_json:
        show_json(
            [{"code": code, "debits": d, "credits": c} for code, (d, c) in sorted(found.items())]
        )
        return
    given, taken = (sum(sums[side] for sums in found.values()) for side in (0, 1))
    sums = [*sorted(found.items()), ("sum", (given, taken))]
    rows = [(code, usd(d), usd(c), usd(c - d)) for code, (d, c) in sums]
    show_table(("ledger account", "debits (USD)", "credits (USD)", "balance (USD)"), rows)


async def _check(*, full: bool) -> LedgerReport:
    from tollkeeper.ledger_check import CheckAsk, check_ledger
    from tollkeeper.operations.desk import open_desk
    from tollkeeper.wiring.books import open_hot

    settings = settings_here()
    dsn = settings.require_postgres_dsn()
    allowance_nanos = settings.allowance_nanos * settings.authz_workers
    began_s = time.monotonic()
    async with (
        open_desk(dsn, 2, CHECK_STATEMENT_S) as desk,
        open_hot(settings, required=True) as hot,
    ):
        with _progress() as progress:
            ask = CheckAsk(whole=full, allowance_nanos=allowance_nanos, hot=hot)
            report = await check_ledger(desk, ask, progress)
        await _keep(desk, report, time.monotonic() - began_s)
    return report


async def _keep(desk: Desk, report: LedgerReport, took_s: float) -> None:
    """So that metrics and the doctor know of it too, and of a repair at once."""
    from billing.stores.postgres_verdicts import keep_verdict
    from tollkeeper.ledger_verdict import verdict_of

    verdict = verdict_of(report, checked_by=user_name(), took_s=took_s, checked_at=desk.now())
    async with desk.access.writing("verdict") as connection:
        await keep_verdict(connection, verdict)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A line that says which step is under way, where a person looks."""
    if not sys.stderr.isatty():
        yield lambda _step, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("batches", total=None)
        yield lambda step, done, total: bar.update(
            task, description=step, completed=done, total=total or None
        )


def _show(report: LedgerReport) -> None:
    show_table(
        ("", "invariant", "looked at", "verdict"), [_proof_row(proof) for proof in report.proofs]
    )
    for proof in report.proofs:
        for notice in proof.notices:
            typer.echo(f"note ({proof.invariant}): {notice}")
    typer.echo(f"batches {report.since_batch + 1} to {report.through_batch}")
    typer.echo(report.verdict, err=report.first_broken is not None)


def _proof_row(proof: Proof) -> tuple[object, ...]:
    verdict = "ok" if proof.holds else f"BROKEN: {proof.broken_row}"
    if proof.skipped:
        verdict = f"skipped: {proof.skipped}"
    return (proof.invariant, TITLES[proof.invariant], proof.checked, verdict)


def _as_json(report: LedgerReport) -> dict[str, object]:
    return {
        "ok": report.first_broken is None,
        "verdict": report.verdict,
        "since_batch": report.since_batch,
        "through_batch": report.through_batch,
        "proofs": [
            {
                "invariant": proof.invariant,
                "title": TITLES[proof.invariant],
                "holds": proof.holds,
                "checked": proof.checked,
                "broken_row": proof.broken_row,
                "broken_how": proof.broken_how,
                "notices": proof.notices,
                "skipped": proof.skipped,
            }
            for proof in report.proofs
        ],
    }


def _entry_row(entry: LedgerEntry) -> tuple[object, ...]:
    return (
        entry.posted_at,
        entry.kind,
        entry.debit_code,
        entry.credit_code,
        usd(entry.amount_nanos),
        entry.batch_id,
        entry.reference,
        entry.source_id,
    )
