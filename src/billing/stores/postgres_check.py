"""What a check of the ledger reads: batches with their lines in bounded pieces, and broken rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from billing.ledger import GENESIS, LedgerCode, Transfer
from billing.stores.postgres_access import Connection, Record
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import usage_line

SQL = load_queries("check.sql")

BATCHES_AT_ONCE = 1_000
LINES_AT_ONCE = 10_000
"""Rows of the ledger in memory at the same time, about 20 MiB; one larger batch is read whole."""


async def _no_breath() -> None:
    """Somebody waits for the answer."""


class Pace(NamedTuple):
    """How many rows are in hand at once, and what is waited for after each such piece."""

    lines_at_once: int = LINES_AT_ONCE
    breath: Callable[[], Awaitable[None]] = _no_breath


FULL_SPEED = Pace()

Totals = Mapping[LedgerCode, tuple[int, int]]
"""Debits and credits of all ledger accounts of a code together."""


class ChainEnd(NamedTuple):
    """Where the chain says that it ends, and the last batch that there is."""

    batch_id: int
    hash: bytes
    last_batch_id: int


@dataclass(frozen=True, slots=True)
class Checked:
    """How far the ledger was proved, and what had moved up to there."""

    batch_id: int
    hash: bytes
    totals: Totals


NOTHING_CHECKED = Checked(0, GENESIS, {})


class BatchLines(NamedTuple):
    """A batch as it was written down, and the rows that belong to it."""

    batch_id: int
    transfer_count: int
    event_count: int
    previous_hash: bytes
    hash: bytes
    transfers: Sequence[Transfer]
    event_lines: Sequence[bytes]


class Broken(NamedTuple):
    """The first row that breaks an invariant, and how."""

    row: str
    what: str


@dataclass(frozen=True, slots=True)
class Uncovered:
    """An account that holds more than it has; ``explained`` is how much of it came afterwards."""

    account_id: str
    held_nanos: int
    posted_nanos: int
    overdraft_nanos: int
    excess_nanos: int
    explained_nanos: int


async def chain_end(connection: Connection) -> ChainEnd:
    """The end of the chain in this snapshot."""
    row = await connection.fetchrow(SQL["chain_end"])
    assert row is not None, "the chain's end is one row, made by the migration"
    return ChainEnd(row["batch_id"], row["hash"], row["last_batch_id"])


async def last_check(connection: Connection) -> Checked:
    """The last check that found nothing broken."""
    row = await connection.fetchrow(SQL["last_check"])
    if row is None:
        return NOTHING_CHECKED
    totals = {code: (int(d), int(c)) for code, (d, c) in json.loads(row["totals"]).items()}
    return Checked(row["batch_id"], row["hash"], totals)


async def hash_of_batch(connection: Connection, batch_id: int) -> bytes | None:
    """The hash of a batch as it is written down now."""
    found = await connection.fetchval(SQL["hash_of_batch"], batch_id)
    return found if isinstance(found, bytes) else None


async def keep_check(
    connection: Connection, checked: Checked, at: datetime, *, whole: bool
) -> None:
    """Note that everything up to a batch was found in order."""
    totals = {code: [str(d), str(c)] for code, (d, c) in checked.totals.items()}
    await connection.execute(
        SQL["insert_check"], checked.batch_id, checked.hash, json.dumps(totals), whole, at
    )


async def read_batches(
    connection: Connection, after: int, pace: Pace = FULL_SPEED
) -> AsyncIterator[BatchLines]:
    """Batches in the order of the chain with all their rows, in bounded memory."""
    while rows := await connection.fetch(SQL["batches_after"], after, BATCHES_AT_ONCE):
        for piece in _pieces(rows, pace.lines_at_once):
            for batch in await _with_lines(connection, piece):
                yield batch
            await pace.breath()
        after = rows[-1]["id"]


async def ledger_totals(connection: Connection) -> tuple[Totals, int]:
    """What the balances sum to by code, and how many ledger accounts there are."""
    rows = await connection.fetch(SQL["ledger_totals"])
    totals = {row["code"]: (int(row["debits"]), int(row["credits"])) for row in rows}
    return totals, sum(row["accounts"] for row in rows)


async def replayable_accounts(
    connection: Connection, after: int, most_events: int
) -> tuple[Sequence[UUID], int]:
    """Accounts that later batches touched and whose history is short enough to be read whole.

    Returns them, and how many were touched. It is another choice for each ``after``, so that every
    account has its turn, unless it has more than ``most_events`` by itself.
    """
    row = await connection.fetchrow(SQL["replayable"], after, most_events)
    assert row is not None, "an aggregate has one row"
    return row["accounts"], row["touched"]


async def first_broken(connection: Connection, statement: str, *args: Any) -> Broken | None:
    """The first row that a ``broken_`` statement finds."""
    row = await connection.fetchrow(SQL[f"broken_{statement}"], *args)
    return None if row is None else Broken(row["row"], row["what"])


async def count_conflicts(connection: Connection) -> int:
    """Entries in quarantine that came again with another content."""
    return int(await connection.fetchval(SQL["conflicts"]))


async def count_states(connection: Connection) -> Mapping[str, int]:
    """How many reservations are in each state."""
    rows = await connection.fetch(SQL["states"])
    return {row["state"]: row["reservations"] for row in rows}


async def uncovered_accounts(connection: Connection) -> Sequence[Uncovered]:
    """Accounts whose pending reservations hold more than they have, the worst first."""
    rows = await connection.fetch(SQL["uncovered"])
    return [Uncovered(row["account_id"], *(int(value) for value in tuple(row)[1:])) for row in rows]


async def account_ids(connection: Connection, after: str, at_most: int) -> Sequence[str]:
    """The next ids of customers' accounts."""
    rows = await connection.fetch(SQL["account_ids"], after, at_most)
    return [row["id"] for row in rows]


def _pieces(rows: Sequence[Record], lines_at_once: int) -> Iterator[Sequence[Record]]:
    """Consecutive batches of at most ``lines_at_once`` rows together, or one that has more."""
    piece: list[Record] = []
    lines = 0
    for row in rows:
        size = row["transfers"] + row["usage_events"]
        if piece and lines + size > lines_at_once:
            yield piece
            piece, lines = [], 0
        piece.append(row)
        lines += size
    if piece:
        yield piece


async def _with_lines(connection: Connection, piece: Sequence[Record]) -> Sequence[BatchLines]:
    bounds = (piece[0]["id"], piece[-1]["id"])
    transfers: dict[int, list[Transfer]] = defaultdict(list)
    events: dict[int, list[bytes]] = defaultdict(list)
    for row in await connection.fetch(SQL["transfers_between"], *bounds):
        batch_id, *fields = row
        transfers[batch_id].append(Transfer(*fields))
    for row in await connection.fetch(SQL["events_between"], *bounds):
        batch_id, *values = row
        events[batch_id].append(usage_line(values))
    return [
        BatchLines(
            row["id"],
            row["transfers"],
            row["usage_events"],
            row["previous_hash"],
            row["hash"],
            transfers[row["id"]],
            events[row["id"]],
        )
        for row in piece
    ]
