"""Who watches the books: the check of the ledger, the reader of its metrics, the doctor."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from billing.stores.postgres_access import open_pool
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from tollkeeper.books_watch import BooksMetrics, BooksWatch
from tollkeeper.doctor_watch import DoctorWatch, patient_of
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.ledger_watch import Ground, LedgerWatch, WatchLimits
from tollkeeper.operations.desk import open_desk
from tollkeeper.settings import Settings

READ_DEADLINE_S = 10.0
"""For one statement of the metrics; the longest counts a million reservations."""
TRUTH_DEADLINE_S = 60.0
REDIS_DEADLINE_S = 10.0
"""For 500 copies, on a Redis that is busy: nobody waits for the answer."""
STOP_S = 5.0
"""By how much a statement may outlive the check that it belongs to."""
GENTLE = {
    "application_name": "tollkeeper ledger check",
    "max_parallel_workers_per_gather": "0",
    "idle_in_transaction_session_timeout": "0",
}
"""One core of Postgres at most; and the transaction that holds the turn is idle all the while."""


@asynccontextmanager
async def open_books(
    settings: Settings, registry: CollectorRegistry
) -> AsyncIterator[Sequence[Coroutine[Any, Any, None]]]:
    """The jobs that watch the books; each has to run as long as the role serves."""
    dsn = settings.require_postgres_dsn()
    async with open_desk(dsn, 1, READ_DEADLINE_S) as desk:
        reader = BooksWatch(lambda: desk.view("books"), BooksMetrics(registry), time.monotonic)
        watch = _ledger_watch(settings, registry)
        doctor = DoctorWatch(patient_of(settings), registry)
        checks = () if settings.ledger_check_interval_s == 0 else (watch.run(),)
        yield (reader.run(), doctor.run(), *checks)


def _ledger_watch(settings: Settings, registry: CollectorRegistry) -> LedgerWatch:
    return LedgerWatch(
        lambda: open_ground(settings),
        WatchLimits(
            interval_s=float(settings.ledger_check_interval_s),
            whole_interval_s=float(settings.ledger_check_whole_interval_s),
            deadline_s=float(settings.ledger_check_deadline_s),
        ),
        allowance_nanos=settings.allowance_nanos * settings.authz_workers,
        name=f"admin on {socket.gethostname()}",
        clock_s=time.monotonic,
        registry=registry,
    )


@asynccontextmanager
async def open_ground(settings: Settings) -> AsyncIterator[Ground]:
    """Connections of one check: one holds the turn, one reads the snapshot."""
    dsn = settings.require_postgres_dsn()
    statement_s = settings.ledger_check_deadline_s + STOP_S
    async with (
        open_desk(dsn, 2, statement_s, GENTLE) as desk,
        open_hot(settings, required=False) as hot,
    ):
        yield Ground(desk, hot)


@asynccontextmanager
async def open_hot(settings: Settings, *, required: bool) -> AsyncIterator[Hot | None]:
    """The hot copy and the truth that it is compared with, where a Redis is named."""
    if settings.redis_url is None:
        yield None
        return
    client = connect(settings.require_redis_url(), REDIS_DEADLINE_S)
    pool = await open_pool(settings.require_postgres_dsn(), 1, TRUTH_DEADLINE_S, GENTLE)
    try:
        copies = RedisHotStore(client, lambda: secrets.token_hex(8), REDIS_DEADLINE_S)
        truth = PostgresTruth(pool, TRUTH_DEADLINE_S)
        yield Hot(copies, truth, time.time, required=required)
    finally:
        await client.aclose()
        await pool.close()
