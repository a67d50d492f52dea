"""Reading the books of a stack: until all is settled, the statement, the proof of the ledger."""

from __future__ import annotations

import asyncio
import time
import uuid

from billing.errors import TollkeeperError
from billing.pages import PageAsk
from billing.reports import Statement
from billing.stores.postgres_truth import PostgresTruth
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.ledger_report import LedgerReport
from tollkeeper.operations.desk import open_desk
from tollkeeper.operations.reports import reservations, span_until_today, statement
from tollkeeper.settings import Settings
from tollkeeper.wiring.servers import open_servers

SETTLE_TIMEOUT_S = 15.0


async def until_settled(dsn: str) -> None:
    """Wait until no reservation is pending; raises when that takes too long."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    async with open_desk(dsn) as desk:
        while time.monotonic() < deadline_s:
            async with desk.view("pending") as view:
                page = await reservations(view, None, "pending", PageAsk(limit=1))
            if not page.rows:
                return
            await asyncio.sleep(0.1)
    raise TollkeeperError(f"reservations are still pending after {SETTLE_TIMEOUT_S} s")


async def read_statement(dsn: str, account: str, ask: PageAsk) -> Statement:
    """The statement of an account over the last days."""
    async with open_desk(dsn) as desk, desk.view("statement") as view:
        return await statement(view, account, span_until_today(view, None, None), ask)


async def prove_books(settings: Settings) -> LedgerReport:
    """Check the whole ledger, Redis included."""
    dsn = settings.require_postgres_dsn()
    async with open_desk(dsn) as desk, open_servers(settings, str(uuid.uuid4())) as servers:
        hot = Hot(servers.hot, PostgresTruth(servers.pool), time.time)
        return await check_ledger(desk, CheckAsk(whole=True, hot=hot), lambda *_: None)
