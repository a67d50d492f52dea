"""When a key was used last, as settlement writes it."""

from __future__ import annotations

import time

import asyncpg
from msgspec.structs import replace

from billing.stores.postgres_ledger import PostgresLedger
from tests.contract.front_workers import ask, new_id, open_account, settlement

MINUTE_US = 60_000_000


async def test_a_settled_request_says_when_its_key_was_used(database: str) -> None:
    """The first use is written, the next only when a minute has passed: a busy key costs no row
    for each request."""
    account, key = await open_account(database, 1_000), new_id()
    now_us = int(time.time() * 1e6)
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        await pool.execute(
            "INSERT INTO api_keys (account_id, id, hash, display) VALUES ($1, $2, $3, 'abcd')",
            account,
            key,
            bytes(32),
        )
        ledger = PostgresLedger(pool)
        seen = []
        for later_us in (0, MINUTE_US // 2, 2 * MINUTE_US):
            used = settlement(ask(account, 10)[0], 1)
            used = replace(used, key_id=key, admitted_us=now_us + later_us)
            await ledger.settle([used], now_us + later_us)
            seen.append(await pool.fetchval("SELECT last_used_at FROM api_keys"))
    assert seen[0].timestamp() * 1e6 == now_us
    assert seen[1] == seen[0]
    assert (seen[2] - seen[0]).total_seconds() == 120
