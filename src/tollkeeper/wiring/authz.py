"""One worker of the front door, put together."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uuid_utils
from prometheus_client import CollectorRegistry

from billing.allowance import Allowance
from billing.breaker import Breaker
from billing.catalog import Catalog
from billing.copier import Copier
from billing.epoch import EpochKeeper
from billing.fence import Fence
from billing.fullness import Fullness
from billing.journal import Journal
from billing.leases import LeaseLimits, Leases
from billing.leases_metrics import LeaseMetrics
from billing.news import News
from billing.reserver import Reserver
from billing.reserver_metrics import ReserverMetrics
from billing.stores.postgres_principals import PostgresPrincipals
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.postgres_workers import PostgresWorkers
from billing.ticket import TicketSeal
from billing.worker import Worker
from extauthz.counts import CheckCounts, DirectoryCounts
from extauthz.directory import Directory
from extauthz.door import Door
from extauthz.handler import CheckHandler
from extauthz.limits import CheckLimits, DirectoryLimits
from extauthz.metrics import DoorCollector
from tollkeeper.settings import Settings
from tollkeeper.wiring.servers import Servers, open_servers

log = structlog.get_logger("authz")
SLEEPLESS_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On Linux the monotonic clock stands still while the machine sleeps, and others may take a worker
for dead in that time."""


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """A worker that is ready to check; ``jobs`` have to run as long as it serves."""

    handler: CheckHandler
    door: Door
    reserver: Reserver
    limits: CheckLimits
    jobs: Sequence[Coroutine[Any, Any, None]]


@asynccontextmanager
async def open_front_door(
    settings: Settings, catalog: Catalog, registry: CollectorRegistry
) -> AsyncIterator[FrontDoor]:
    """Build and register a worker; at the end its journal is flushed and it leaves."""
    worker_id = str(uuid_utils.uuid7())
    async with open_servers(settings, worker_id) as servers:
        workers = PostgresWorkers(servers.pool, worker_id, "authz")
        worker, reserver = _reserver(settings, servers, workers, registry)
        principals = PostgresPrincipals(servers.pool, servers.dsn, servers.name)
        counts, known = CheckCounts(), DirectoryCounts()
        directory = Directory(principals, _directory_limits(settings), known, time.monotonic)
        registry.register(DoorCollector(counts, known, directory.state))
        limits = CheckLimits(
            max_in_flight=settings.check_queue_entries,
            reserve_deadline_s=settings.reserve_deadline_ms / 1000,
        )
        fullness = Fullness(servers.spool_signal, time.time, log.warning, registry)
        door = Door(
            catalog=catalog,
            directory=directory,
            reserver=reserver,
            seal=TicketSeal(settings.ticket_secrets),
            now_s=time.time,
            new_id=_new_id,
            limits=limits,
            fullness=fullness,
        )
        news = News(principals)
        handler = CheckHandler(door, limits, counts, time.perf_counter)
        jobs = (directory.follow(news.changes()), *worker.jobs(news), news.run(), fullness.run())
        await worker.start()
        try:
            yield FrontDoor(handler, door, reserver, limits, jobs)
        finally:
            await directory.close()
            await worker.stop()


def _sleepless_s() -> float:
    return time.clock_gettime(SLEEPLESS_CLOCK)


def _reserver(
    settings: Settings, servers: Servers, workers: PostgresWorkers, registry: CollectorRegistry
) -> tuple[Worker, Reserver]:
    report = _reporter()
    truth = PostgresTruth(servers.pool)
    journal = Journal(
        workers,
        lambda why, row: log.error("not journaled", why=why, request_id=row[0], account=row[1]),
    )
    epoch = EpochKeeper(workers, servers.hot_server, report)
    fence = Fence()
    leases = Leases(
        hot=servers.hot,
        journal=journal,
        epoch=epoch,
        fence=fence,
        clock_s=_sleepless_s,
        now_s=time.time,
        new_id=_new_id,
        metrics=LeaseMetrics(registry),
        limits=LeaseLimits(most_requests=settings.lease_requests),
    )
    worker = Worker(
        journal=journal,
        workers=workers,
        epoch=epoch,
        hot=servers.hot,
        truth=truth,
        leases=leases,
        fence=fence,
        clock=time.time,
        clock_s=_sleepless_s,
        report=report,
    )
    breaker = Breaker(time.monotonic)
    metrics = ReserverMetrics(registry)
    metrics.watch(
        journal_rows=lambda: journal.depth,
        epoch=lambda: epoch.number,
        breaker_open=lambda: breaker.is_open,
    )
    reserver = Reserver(
        hot=servers.hot,
        copier=Copier(servers.hot, truth, workers, worker.flush_own, time.time),
        journal=journal,
        epoch=epoch,
        allowance=Allowance(most_nanos=settings.allowance_nanos),
        breaker=breaker,
        leases=leases,
        clock=time.time,
        metrics=metrics,
    )
    worker.serve(reserver)
    return worker, reserver


def _directory_limits(settings: Settings) -> DirectoryLimits:
    return DirectoryLimits(
        max_known=settings.principal_cache_entries,
        max_unknown=settings.negative_cache_entries,
        stale_max_s=float(settings.stale_max_s),
        query_deadline_s=settings.postgres_deadline_ms / 1000 * 0.8,
        lookup_deadline_s=settings.postgres_deadline_ms / 1000,
    )


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def _reporter() -> Callable[[str], None]:
    """Log what goes wrong, each text once until another one comes."""
    last = ""

    def report(text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            log.warning(text)

    return report
