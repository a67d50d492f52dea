"""Appending to the ledger: every write of money, whoever makes it, goes through these three steps.

``lock_chain`` makes the caller the only writer until its transaction ends, ``append_batch`` writes
transfers under the next link of the hash chain, ``post_balances`` moves the balances by the same
amounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import asyncpg

from billing.errors import InvalidInput
from billing.ledger import Transfer, chain_hash
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import BalanceChange

SQL = load_queries("ledger.sql")
BatchKind = Literal["settlement", "expiry", "topup", "correction"]
TRANSFER_COLUMNS = (*(name.removesuffix("_nanos") for name in Transfer._fields), "batch_id")


class ChainHead(NamedTuple):
    """The last batch and its hash."""

    batch_id: int
    hash: bytes


class Balance(NamedTuple):
    """A customer's credits after a write; the order is that of ``Publication``."""

    posted_nanos: int
    overdraft_nanos: int
    version: int


async def lock_chain(connection: asyncpg.Connection) -> ChainHead:
    """Become the only writer of the ledger until the transaction ends."""
    row = await connection.fetchrow(SQL["lock_chain"])
    assert row is not None, "the chain's end is one row, made by the migration"
    return ChainHead(row["batch_id"], row["hash"])


async def append_batch(
    connection: asyncpg.Connection,
    head: ChainHead,
    kind: BatchKind,
    transfers: Sequence[Transfer],
    event_lines: Sequence[bytes],
) -> int:
    """Write transfers as the next batch and return its id."""
    batch_id = head.batch_id + 1
    digest = chain_hash(head.hash, [*(t.line() for t in transfers), *event_lines])
    await connection.execute(
        SQL["append_batch"], batch_id, kind, len(transfers), len(event_lines), head.hash, digest
    )
    if transfers:
        rows = [(*transfer, batch_id) for transfer in transfers]
        await copy_rows(connection, "transfers", TRANSFER_COLUMNS, rows)
    return batch_id


async def copy_rows(
    connection: asyncpg.Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[object, ...]],
) -> None:
    """Append rows to a table by COPY, which costs both sides half of what an ``INSERT`` does.

    A value that does not fit its column raises ``InvalidInput``, and the transaction ends with it.
    """
    try:
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    except (TypeError, ValueError, OverflowError) as error:  # the client could not encode a value
        raise InvalidInput(f"a row for {table}: {error}") from error


async def post_balances(
    connection: asyncpg.Connection, changes: Sequence[BalanceChange]
) -> Mapping[str, Balance]:
    """Move balances and raise their versions; returns the customers' credits as they are now.

    An account that is not in the ledger raises ``InvalidInput``, and the transaction ends with it.
    """
    rows = await connection.fetch(SQL["post_balances"], *map(list, zip(*changes, strict=True)))
    if len(rows) != len(changes):
        known = {row["n"] for row in rows}
        unknown = next(c for n, c in enumerate(changes, 1) if n not in known)
        raise InvalidInput(f"no ledger account {unknown.code} of account {unknown.account_id}")
    return {
        change.account_id: Balance(posted_nanos, overdraft_nanos, version)
        for n, posted_nanos, overdraft_nanos, version in rows
        if (change := changes[n - 1]).code == "credits"
    }
