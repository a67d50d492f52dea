"""How a batch ends its reservations in Postgres: each once, whatever comes twice.

Nearly all were journaled before their entries came, so they are ended by what says how, and
nothing else is sent. What is not found pending is looked at again: it ended before (a duplicate, or
a conflict when the content differs), or its journal has not come yet, and then it is written whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from billing.ledger import Settlement
from billing.reservations import State
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import SettledRow, end_columns, reservation_columns

SQL = load_queries("ledger.sql")


class Ends(NamedTuple):
    """What ended by this batch, in its order, and what came again with another content."""

    rows: list[SettledRow]
    conflicts: list[Settlement]


async def end_reservations(
    connection: asyncpg.Connection, settlements: Sequence[Settlement], now_us: int
) -> Ends:
    """End what is pending or expired; the caller holds the end of the chain."""
    found = await connection.fetch(SQL["end_journaled"], *end_columns(settlements), now_us)
    if len(found) == len(settlements):
        states = {settlements[n - 1].reservation_id: state for n, state in found}
        return Ends(_rows(settlements, states), [])
    ended: dict[str, State] = {settlements[n - 1].reservation_id: state for n, state in found}
    left = [s for s in settlements if s.reservation_id not in ended]
    hashes = await _hashes(connection, left)
    unknown = [s for s in left if s.reservation_id not in hashes]
    ended |= await _write(connection, unknown, now_us)
    again = [s for s in left if s.reservation_id in hashes]
    conflicts = [s for s in again if hashes[s.reservation_id] != s.content_hash()]
    return Ends(_rows(settlements, ended), conflicts)


def _rows(settlements: Sequence[Settlement], states: Mapping[str, State]) -> list[SettledRow]:
    return [
        SettledRow(s, states[s.reservation_id]) for s in settlements if s.reservation_id in states
    ]


async def _hashes(
    connection: asyncpg.Connection, settlements: Sequence[Settlement]
) -> Mapping[str, bytes]:
    """The contents with which reservations ended before, by id."""
    known = await connection.fetch(
        SQL["ended_hashes"],
        [s.account_id for s in settlements],
        [s.reservation_id for s in settlements],
    )
    return {row["id"]: row["content_hash"] for row in known}


async def _write(
    connection: asyncpg.Connection, settlements: Sequence[Settlement], now_us: int
) -> Mapping[str, State]:
    """End reservations whose journal has not come, or came a moment ago."""
    if not settlements:
        return {}
    ended = await connection.fetch(
        SQL["end_reservations"], *reservation_columns(settlements), now_us
    )
    return {row["id"]: row["state"] for row in ended}
