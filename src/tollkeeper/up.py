"""``tollkeeper up``: the whole stack in the foreground until Ctrl-C, with a key to try."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.table import Table

from tollkeeper.operations.desk import open_desk
from tollkeeper.operations.reports import balance
from tollkeeper.running import stop_on_signals
from tollkeeper.settings import Settings
from tollkeeper.stack import Stack, StackOptions
from tollkeeper.stack.customers import Customer, keep_customer
from tollkeeper.stack.gateway import curl

CUSTOMER = "first-steps"
BALANCE_NANOS = 5 * 10**9
"""What the first customer is given once: 5 USD, or 5 000 credits."""


def up(settings: Settings) -> None:
    """Run the stack until SIGINT or SIGTERM; a part that dies is started again."""
    asyncio.run(_up(settings, Console(stderr=True)))


async def _up(settings: Settings, console: Console) -> None:
    stop = stop_on_signals()
    options = StackOptions(authz_workers=settings.authz_workers)
    async with Stack(
        settings, options, lambda line: console.print(f"  {line}", style="dim")
    ) as stack:
        customer = await keep_customer(stack.settings, CUSTOMER, BALANCE_NANOS)
        console.print(await _welcome(stack, customer))
        console.print("Try it:", style="bold")
        console.print(_curl(stack, customer), soft_wrap=True, highlight=False)
        watching = asyncio.create_task(stack.watch())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            stopping.cancel()
            await asyncio.wait((watching, stopping))
        console.print("stopping; the data stays in", str(stack.home))


async def _welcome(stack: Stack, customer: Customer) -> Table:
    described = stack.describe()
    table = Table(title="Tollkeeper is up; Ctrl-C ends it", show_header=False, title_justify="left")
    for name in ("gateway", "admin", "envoy_admin", "upstream", "postgres", "redis"):
        table.add_row(name, str(described[name]))
    table.add_row("its API", f"{described['admin']}/docs")
    table.add_row("metrics", "\n".join(described["metrics"]))
    table.add_row("everything", str(stack.home / "stack.json"))
    table.add_row("key to try", customer.key)
    async with (
        open_desk(stack.settings.require_postgres_dsn()) as desk,
        desk.view("balance") as view,
    ):
        found = await balance(view, customer.account_id)
    table.add_row("its credits", f"{found.available_nanos / 10**6:,.6f}")
    return table


def _curl(stack: Stack, customer: Customer) -> str:
    body = '{"model":"gpt-4o-mini","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}'
    return (
        f"{curl(stack.settings, '/v1/chat/completions')} "
        f"-H 'Authorization: Bearer {customer.key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
