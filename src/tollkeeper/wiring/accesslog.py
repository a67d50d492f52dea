"""The back door over real servers: the sink with its spool, and the same desk for a replay."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uuid_utils
from prometheus_client import CollectorRegistry

from accesslog.assembly import Desk, Surroundings, build_service, claim_spool
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Told
from accesslog.service import AccessLogService
from accesslog.settings import (
    AccessLogSettings,
    ExpireSettings,
    SettleSettings,
    SpoolSettings,
)
from billing.offered import Offered
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_strays import PostgresStrays
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.protocol import LedgerStore
from billing.sweep import Sweep
from billing.ticket import TicketSeal
from tollkeeper.settings import Settings
from tollkeeper.wiring.servers import Servers, open_servers
from tollkeeper.wiring.tls import server_credentials

log = structlog.get_logger("accesslog")
WatchLedger = Callable[[LedgerStore], LedgerStore]
"""Makes the same ledger with somebody who looks on."""

SPOOL_FOLDER = "spool"
PUBLISH_DEADLINE_S = 2.0
"""For one call that tells of 256 accounts, on a Redis that is busy; what is late is told again."""
SPOOL_SEGMENTS = 16
"""Segments of a full spool, at least: one is read and one written, the others wait."""


@dataclass(frozen=True, slots=True)
class BackDoor:
    """The sink; ``sweep`` has to run as long as it serves."""

    service: AccessLogService
    sweep: Sweep


def accesslog_settings(settings: Settings) -> AccessLogSettings:
    """The settings of the environment as the back door takes them."""
    return AccessLogSettings(
        spool=_spool_settings(settings),
        settle=SettleSettings(
            batch_entries=settings.settle_batch_entries,
            batch_wait_s=settings.settle_batch_wait_ms / 1000,
        ),
        expire=ExpireSettings(interval_s=float(settings.expire_interval_s)),
        drain_s=float(settings.drain_deadline_s),
    )


def _spool_settings(settings: Settings) -> SpoolSettings:
    """A small spool has small segments, because space is given back by the segment."""
    usual, max_bytes = SpoolSettings(), settings.spool_max_bytes
    return SpoolSettings(
        max_bytes=max_bytes,
        segment_bytes=min(usual.segment_bytes, max_bytes // SPOOL_SEGMENTS),
        adopt_interval_s=float(settings.spool_adopt_interval_s),
    )


def warn(told: str) -> None:
    """Log a notice, with the request and the account that it is about."""
    about = told.about if isinstance(told, Told) else {}
    log.warning(str(told), **about)


def open_office(
    settings: Settings,
    servers: Servers,
    offered: Offered,
    registry: CollectorRegistry,
    report: Callable[[str], None] = warn,
    *,
    watched: WatchLedger | None = None,
) -> Desk:
    """What settles entries, wherever they come from; ``watched`` may look on."""
    ledger: LedgerStore = PostgresLedger(
        servers.pool, settings.settle_deadline_ms / 1000, offered.charges_on_expiry
    )
    around = Surroundings(
        ledger=ledger if watched is None else watched(ledger),
        truth=PostgresTruth(servers.pool),
        hot=servers.hot,
        seal=TicketSeal(settings.ticket_secrets),
        catalog=lambda: offered.catalog,
        now_us=lambda: time.time_ns() // 1000,
        now_s=time.monotonic,
        chance=random.random,
        report=report,
        metrics=AccessLogMetrics(registry),
    )
    return Desk(around, accesslog_settings(settings))


@asynccontextmanager
async def open_back_door(
    settings: Settings,
    offered: Offered,
    registry: CollectorRegistry,
    watched: WatchLedger | None = None,
) -> AsyncIterator[BackDoor]:
    """Build the sink; entries that an earlier process left in the spool are settled too."""
    async with open_servers(settings, str(uuid_utils.uuid7()), PUBLISH_DEADLINE_S) as servers:
        desk = open_office(settings, servers, offered, registry, watched=watched)
        root = settings.spool_dir or settings.home / SPOOL_FOLDER
        spool = claim_spool(root, desk)
        sweep = Sweep(
            servers.hot,
            PostgresStrays(servers.pool),
            clock=time.time,
            report=log.warning,
            registry=registry,
        )
        credentials = server_credentials(settings.accesslog_tls)
        service = build_service(desk, spool, credentials, root=root, signal=servers.spool_signal)
        yield BackDoor(service, sweep)
