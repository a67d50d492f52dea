"""The back door, put together: the sink, the spool, the settler, expiry; and replay from files."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uuid_utils
from prometheus_client import CollectorRegistry

from accesslog.backoff import Backoff
from accesslog.expire import Expirer
from accesslog.intake import Intake
from accesslog.judge import Judge
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.publish import Publisher
from accesslog.pump import Pump
from accesslog.server import AccessLogServer
from accesslog.service import AccessLogService, Parts
from accesslog.settings import (
    AccessLogSettings,
    ExpireSettings,
    SettleSettings,
    SpoolSettings,
)
from accesslog.settle import Settler
from accesslog.spool import Spool
from billing.catalog import Catalog
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_strays import PostgresStrays
from billing.stores.postgres_truth import PostgresTruth
from billing.sweep import Sweep
from billing.ticket import TicketSeal
from tollkeeper.settings import Settings
from tollkeeper.wiring.servers import Servers, open_servers

log = structlog.get_logger("accesslog")
MICROS = 1_000_000


@dataclass(slots=True)
class Offered:
    """The catalog in force, replaced whole when the configuration changes."""

    catalog: Catalog


@dataclass(frozen=True, slots=True)
class BackOffice:
    """What settles entries, wherever they come from."""

    judge: Judge
    settler: Settler
    publisher: Publisher
    ledger: PostgresLedger
    metrics: AccessLogMetrics
    notices: Notices
    settings: AccessLogSettings


def now_us() -> int:
    """Unix time in microseconds."""
    return time.time_ns() // 1000


def accesslog_settings(settings: Settings) -> AccessLogSettings:
    """The settings of the environment as the back door takes them."""
    return AccessLogSettings(
        spool=SpoolSettings(max_bytes=settings.spool_max_bytes),
        settle=SettleSettings(
            batch_entries=settings.settle_batch_entries,
            batch_wait_s=settings.settle_batch_wait_ms / 1000,
        ),
        expire=ExpireSettings(interval_s=float(settings.expire_interval_s)),
        drain_s=float(settings.drain_deadline_s),
    )


def back_office(
    settings: Settings, servers: Servers, offered: Offered, registry: CollectorRegistry
) -> BackOffice:
    """Judge and settler over the servers of this process."""
    own = accesslog_settings(settings)
    notices = Notices(log.warning, time.monotonic)
    metrics = AccessLogMetrics(registry)
    ledger = PostgresLedger(
        servers.pool, settings.settle_deadline_ms / 1000, _charges_on_expiry(offered)
    )
    publisher = Publisher(
        servers.hot,
        PostgresTruth(servers.pool),
        settings=own.publish,
        now_us=now_us,
        metrics=metrics,
        notices=notices,
    )
    judge = Judge(
        TicketSeal(settings.ticket_secrets), lambda: offered.catalog, own.judge, now_us, notices
    )
    settler = Settler(
        ledger,
        servers.hot,
        publisher,
        settings=own.settle,
        backoff=Backoff(
            own.settle.first_backoff_s, own.settle.max_backoff_s, asyncio.sleep, random.random
        ),
        metrics=metrics,
        notices=notices,
        now_us=now_us,
        now_s=time.monotonic,
    )
    return BackOffice(judge, settler, publisher, ledger, metrics, notices, own)


@dataclass(frozen=True, slots=True)
class BackDoor:
    """The sink; ``sweep`` has to run as long as it serves."""

    service: AccessLogService
    sweep: Sweep


@asynccontextmanager
async def open_back_door(
    settings: Settings, offered: Offered, registry: CollectorRegistry
) -> AsyncIterator[BackDoor]:
    """Build the sink over its spool; entries that an earlier process left there are settled too."""
    async with open_servers(settings, str(uuid_utils.uuid7())) as servers:
        office = back_office(settings, servers, offered, registry)
        own = office.settings
        spool = Spool(settings.home / "spool", own.spool, now_us, office.notices.tell)
        intake = Intake(
            spool,
            usage_headers=own.judge.usage_headers,
            chunk_entries=own.server.chunk_entries,
            when_full=own.spool.when_full,
            metrics=office.metrics,
            notices=office.notices,
        )
        parts = Parts(
            spool=spool,
            server=AccessLogServer(intake, own.server, office.metrics, office.notices),
            pump=Pump(spool, office.judge, office.settler, own.settle, time.monotonic),
            publisher=office.publisher,
            expirer=_expirer(office, spool),
        )
        sweep = Sweep(
            servers.hot,
            PostgresStrays(servers.pool),
            clock=time.time,
            report=log.warning,
            registry=registry,
        )
        yield BackDoor(AccessLogService(parts, own, office.notices, time.monotonic), sweep)


def _expirer(office: BackOffice, spool: Spool) -> Expirer:
    return Expirer(
        office.ledger,
        office.publisher,
        settings=office.settings.expire,
        oldest_us=lambda: spool.oldest_us,
        now_us=now_us,
        metrics=office.metrics,
        notices=office.notices,
    )


def _charges_on_expiry(offered: Offered) -> Callable[[str], bool]:
    def charges(route_name: str) -> bool:
        route = offered.catalog.routes.get(route_name)
        return route is not None and route.on_expiry == "charge_quote"

    return charges
