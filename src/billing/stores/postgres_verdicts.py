"""Verdicts of ledger checks in Postgres: kept by whoever checked, read by whoever watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta

from billing.stores.postgres_access import Connection
from billing.stores.queries import load_queries

SQL = load_queries("verdicts.sql")

TURN_KEY = 0x6C656467
"""Of the advisory lock ("ledg"); migrations have another one."""
KEPT = timedelta(days=90)
"""For how long verdicts are kept: a quarter, with one every five minutes 26 000 rows."""
MAX_TEXT_CHARS = 2_000
MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found over the batches after ``since_batch`` up to ``through_batch``.

    ``broken`` and ``skipped`` are numbers of invariants; ``text`` names the first broken row.
    ``broken_now`` are those of ``broken`` that every check looks at whole, so that a later one
    supersedes it.
    """

    whole: bool
    since_batch: int
    through_batch: int
    broken: Sequence[int]
    broken_now: Sequence[int]
    skipped: Sequence[int]
    text: str
    checked_by: str
    took_ms: int
    checked_at: datetime


async def take_turn(connection: Connection) -> bool:
    """Become the one that checks, until this transaction ends; False when another one is."""
    return bool(await connection.fetchval(SQL["take_turn"], TURN_KEY))


async def keep_verdict(connection: Connection, verdict: Verdict) -> None:
    """Note a verdict, and forget those that are older than ``KEPT``."""
    bounded = replace(
        verdict,
        text=verdict.text[:MAX_TEXT_CHARS],
        checked_by=verdict.checked_by[:MAX_NAME_CHARS],
    )
    await connection.execute(SQL["insert_verdict"], *astuple(bounded))
    for statement in ("forget_verdicts", "forget_checks"):
        await connection.execute(SQL[statement], verdict.checked_at - KEPT)


async def newest_verdicts(connection: Connection) -> Sequence[Verdict]:
    """The newest verdict over what was new, and the newest over the whole, where there is one."""
    return [Verdict(*row.values()) for row in await connection.fetch(SQL["newest_verdicts"])]
