"""Rows of a batch in Postgres: what the client or the server refuses, and whose batch they are."""

from __future__ import annotations

import asyncpg
import pytest
from msgspec.structs import replace

from billing.errors import InvalidInput
from billing.stores.postgres_chain import lock_chain
from billing.stores.postgres_ledger import SQL, PostgresLedger
from tests.contract.front_workers import ask, new_id, open_account, settlement

NO_BATCH = 77
NOW_US = 1_760_000_000_000_000


@pytest.mark.parametrize(
    "change",
    [{"model": "a\0b"}, {"units": 2**63}, {"key_id": "no id"}],
    ids=["nul", "too large", "no uuid"],
)
async def test_a_value_that_fits_no_column_is_refused_and_the_session_goes_on(
    database: str, change: dict[str, object]
) -> None:
    """Whether the client cannot write the value or the server does not take it: the batch is
    refused as a whole, and the next one on the same session is settled."""
    account = await open_account(database, 1_000)
    (hold, _), (good, _) = ask(account, 5), ask(account, 5)
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        ledger = PostgresLedger(pool, 20.0)
        with pytest.raises(InvalidInput):
            await ledger.settle([replace(settlement(hold, 5), **change)], NOW_US)
        assert await pool.fetchval("SELECT count(*) FROM transfers WHERE kind = 'charge'") == 0
        assert (await ledger.settle([settlement(good, 5)], NOW_US)).settled == 1


@pytest.mark.parametrize("table", ["transfers", "usage_events"])
async def test_a_row_of_no_batch_is_refused(database: str, table: str) -> None:
    """A transfer or a usage event that names a batch which is not there does not get in."""
    account = await open_account(database, 1_000)
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        ledger = PostgresLedger(pool, 20.0)
        await ledger.settle([settlement(ask(account, 5)[0], 5)], NOW_US)
        names = await pool.fetchval(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
            " WHERE attrelid = $1::text::regclass AND attnum > 0"
            " AND attname NOT IN ('batch_id', 'account_id')",
            table,
        )
        copied = f"INSERT INTO {table} (batch_id, account_id, {names}) SELECT $1, $2, {names}"
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="name batch 77"):
            await pool.execute(f"{copied} FROM {table} LIMIT 1", NO_BATCH, new_id())
        batch_id = await pool.fetchval("SELECT max(id) FROM batches")
        await pool.execute(f"{copied} FROM {table} LIMIT 1", batch_id, new_id())


async def test_rows_are_looked_up_by_their_keys_however_few_there_are(database: str) -> None:
    """A plan that reads whole tables is kept by a session while they grow; none is made, not even
    for tables that are empty and were never analyzed."""
    ids = [new_id()]
    asked: dict[str, tuple[object, ...]] = {
        "end_journaled": (ids, ids, [True], [bytes(16)], 1),
        "post_balances": (ids, ["credits"], [0], [0]),
        "add_period": (ids, ["llm"], [0], [1], [0], [0]),
        "ended_hashes": (ids, ids),
    }
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await lock_chain(connection)
            for name, values in asked.items():
                plan = await connection.fetch("EXPLAIN " + SQL[name], *values)
                text = "\n".join(row[0] for row in plan)
                assert "Seq Scan" not in text, text
                assert "_pkey" in text, text
    finally:
        await connection.close()


async def test_what_is_pending_is_found_by_account_or_by_end(database: str) -> None:
    """A table that was analyzed while nothing was pending looks as if either index would do."""
    account = await open_account(database, 1_000)
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        await pool.execute(
            "INSERT INTO reservations SELECT gen_random_uuid(), gen_random_uuid(),"
            " gen_random_uuid(), 'llm', 'chat', 'v1', 1, 1, '', '', 'released', NULL, 0, now(), 0"
            " FROM generate_series(1, 2000)"
        )
        await pool.execute("VACUUM ANALYZE reservations")
        of_account = await pool.fetch("EXPLAIN " + SQL["truth"], [account], NOW_US / 1e6)
        overdue = await pool.fetch("EXPLAIN " + SQL["overdue"], NOW_US / 1e6, 10)
    assert "reservations_pending_account" in str(of_account)
    assert "reservations_pending_end" in str(overdue)
