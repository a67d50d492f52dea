"""The story of the demo: pay, be refused, spend the last credit exactly, and look at the books."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from billing.errors import TollkeeperError
from billing.money import format_credits, format_usd
from billing.pages import PageAsk
from billing.reports import Statement
from tollkeeper.demo.books import prove_books, read_statement, until_settled
from tollkeeper.demo.requests import NO_KEY, PAID, PING, send, show
from tollkeeper.ledger_report import LedgerReport
from tollkeeper.settings import Settings
from tollkeeper.stack import Stack, StackOptions
from tollkeeper.stack.customers import Customer, open_customer

BALANCE_NANOS = 120 * 10**6
"""120 credits: enough for one tool run, whose hold is high, and for a hundred pings at once."""
AT_ONCE = 200
WIDTH_CHARS = 100
TRIAL_TRIES = 12


def demo(settings: Settings) -> None:
    """Run the demo in a directory of its own; raises when something is not as it should be."""
    console = Console(highlight=False, width=WIDTH_CHARS)
    settings.home.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="demo-", dir=settings.home.absolute()))
    asyncio.run(_demo(settings.model_copy(update={"home": home}), console))
    shutil.rmtree(home)


async def _demo(settings: Settings, console: Console) -> None:
    began_s = time.monotonic()
    console.rule("[bold]Starting Envoy, Postgres and Redis")
    options = StackOptions(authz_workers=2)
    async with Stack(settings, options, lambda line: console.print(f"  [dim]{line}[/]")) as stack:
        dsn = stack.settings.require_postgres_dsn()
        payer = await open_customer(dsn, "acme", BALANCE_NANOS)
        trial = await open_customer(dsn, "trial", BALANCE_NANOS, plan="free")
        async with stack.client(30.0) as client:
            await _pay(console, client, payer)
            await _be_refused(console, client, payer, trial)
            await _spend_the_rest(console, client, payer)
        await until_settled(dsn)
        report = await _look_at_the_books(console, stack, payer)
    console.print(f"\n[dim]{time.monotonic() - began_s:.1f} s; everything is stopped again.[/]")
    if report.first_broken is not None:
        raise TollkeeperError(f"ledger check: {report.first_broken.broken_how}")


async def _pay(console: Console, client: httpx.AsyncClient, payer: Customer) -> None:
    console.rule(f"[bold]acme has {format_credits(BALANCE_NANOS)} credits and pays")
    for request in PAID:
        show(console, request, await send(client, request, payer.key))


async def _be_refused(
    console: Console, client: httpx.AsyncClient, payer: Customer, trial: Customer
) -> None:
    console.rule("[bold]Refusals say what to do")
    show(console, NO_KEY, await send(client, NO_KEY))
    show(console, PAID[3], await _until(client, payer, 402))
    show(console, PING, await _until_limited(client, trial))


async def _until(client: httpx.AsyncClient, payer: Customer, status: int) -> httpx.Response:
    """Tool runs hold the most that they may cost: two at once are more than the balance."""
    runs = [send(client, PAID[3], payer.key) for _ in range(3)]
    answers = await asyncio.gather(*runs)
    return _first(answers, status)


async def _until_limited(client: httpx.AsyncClient, trial: Customer) -> httpx.Response:
    """The plan `free` allows two requests a second, and a burst."""
    answers = [await send(client, PING, trial.key) for _ in range(TRIAL_TRIES)]
    return _first(answers, 429)


def _first(answers: list[httpx.Response], status: int) -> httpx.Response:
    for answer in answers:
        if answer.status_code == status:
            return answer
    raise TollkeeperError(f"no answer was a {status}: {[a.status_code for a in answers]}")


async def _spend_the_rest(console: Console, client: httpx.AsyncClient, payer: Customer) -> None:
    console.rule(f"[bold]{AT_ONCE} clients at once, for what is left")
    await asyncio.sleep(1.0)  # what was held and not used is back within a second
    answers = await asyncio.gather(*(send(client, PING, payer.key) for _ in range(AT_ONCE)))
    counts = Counter(answer.status_code for answer in answers)
    for status, count in sorted(counts.items()):
        console.print(f"  {count:>4} x {status}")
    refused = _first(answers, 402)
    show(console, PING, refused)


async def _look_at_the_books(console: Console, stack: Stack, payer: Customer) -> LedgerReport:
    console.rule("[bold]The books")
    dsn = stack.settings.require_postgres_dsn()
    console.print(_statement_table(await read_statement(dsn, payer.account_id, PageAsk())))
    report = await prove_books(stack.settings)
    for proof in report.proofs:
        mark = "[green]holds [/]" if proof.holds else "[red]BROKEN[/]"
        console.print(f"  {mark} {proof.invariant} {proof.checked or proof.skipped}")
    console.print(
        "ledger check: [green]ok[/]"
        if report.first_broken is None
        else "ledger check: [red]broken[/]"
    )
    return report


def _statement_table(statement: Statement) -> Table:
    table = Table(title=f"Statement of account: {statement.account_name}", title_justify="left")
    table.add_column("what")
    for name in ("requests", "units", "USD", "balance, USD"):
        table.add_column(name, justify="right")
    table.add_row("opening balance", "", "", "", format_usd(statement.opening_nanos))
    for line in statement.lines:
        table.add_row(
            f"{line.kind}  {line.text}",
            str(line.requests or ""),
            str(line.units or ""),
            format_usd(line.amount_nanos),
            format_usd(line.balance_nanos),
        )
    table.add_row("closing balance", "", "", "", format_usd(statement.closing_nanos))
    return table
