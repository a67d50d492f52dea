"""Putting the parts of the back door together, from the ports and clocks that the wiring gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from accesslog.adopt import Adopter
from accesslog.backoff import Backoff
from accesslog.expire import Expirer
from accesslog.intake import Intake
from accesslog.judge import Judge
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.publish import Publisher
from accesslog.pump import Pump
from accesslog.server import AccessLogServer, ServerCredentials
from accesslog.service import AccessLogService, Parts
from accesslog.settings import AccessLogSettings
from accesslog.settle import Settler
from accesslog.slots import claim
from accesslog.spool import Spool
from billing.catalog import Catalog
from billing.fullness import FullnessTeller, SpoolSignal
from billing.stores.protocol import HotStore, LedgerStore, TruthStore
from billing.ticket import TicketSeal


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the back door stands on.

    ``catalog`` gives the one in force. ``now_us`` is Unix time in microseconds, ``now_s`` a clock
    that never goes back, ``chance`` a number from 0 to 1. ``report`` hears of what goes wrong.
    """

    ledger: LedgerStore
    truth: TruthStore
    hot: HotStore
    seal: TicketSeal
    catalog: Callable[[], Catalog]
    now_us: Callable[[], int]
    now_s: Callable[[], float]
    chance: Callable[[], float]
    report: Callable[[str], None]
    metrics: AccessLogMetrics
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Desk:
    """Judge, settler and publisher: what the service and a replay have in common."""

    def __init__(self, around: Surroundings, settings: AccessLogSettings) -> None:
        self.around = around
        self.settings = settings
        self.notices = Notices(around.report, around.now_s)
        self.judge = Judge(around.seal, around.catalog, settings.judge, around.now_us, self.notices)
        self.publisher = Publisher(
            around.hot,
            around.truth,
            settings=settings.publish,
            now_us=around.now_us,
            metrics=around.metrics,
            notices=self.notices,
        )
        self.settler = Settler(
            around.ledger,
            around.hot,
            self.publisher,
            settings=settings.settle,
            backoff=Backoff(
                settings.settle.first_backoff_s,
                settings.settle.max_backoff_s,
                around.sleep,
                around.chance,
            ),
            metrics=around.metrics,
            notices=self.notices,
            now_us=around.now_us,
            now_s=around.now_s,
        )


def open_spool(directory: Path, desk: Desk) -> Spool:
    """The spool of one settler; :class:`billing.errors.Conflict` when another one owns it."""
    spool = _opened(directory, desk)
    desk.around.metrics.watch(spool, desk.around.now_us)
    return spool


def claim_spool(root: Path, desk: Desk) -> Spool:
    """The first spool below the root that no other settler owns."""
    spool = claim(root, lambda directory: _opened(directory, desk))
    desk.around.metrics.watch(spool, desk.around.now_us)
    return spool


def _opened(directory: Path, desk: Desk) -> Spool:
    def tell(kind: str, text: str) -> None:
        desk.around.metrics.spool_faults.labels(kind).inc()
        desk.notices.tell(f"spool_{kind}", text)

    return Spool(directory, desk.settings.spool, desk.around.now_us, tell)


def _pump(spool: Spool, desk: Desk) -> Pump:
    return Pump(spool, desk.judge, desk.settler, desk.settings.settle, desk.around.now_s)


def _adopter(root: Path, desk: Desk) -> Adopter:
    return Adopter(
        root,
        opened=lambda directory: _opened(directory, desk),
        pump=lambda spool: _pump(spool, desk),
        interval_s=desk.settings.spool.adopt_interval_s,
        metrics=desk.around.metrics,
        notices=desk.notices,
    )


def _teller(signal: SpoolSignal | None, intake: Intake, desk: Desk) -> FullnessTeller | None:
    if signal is None:
        return None
    return FullnessTeller(signal, str(uuid4()), lambda: intake.is_full, desk.notices.tell)


def _oldest_us(spool: Spool, adopter: Adopter | None) -> int | None:
    """When the oldest entry that waits here came in, in our own spool or in another's."""
    adopted_us = None if adopter is None else adopter.oldest_us
    return min((us for us in (spool.oldest_us, adopted_us) if us is not None), default=None)


def build_service(
    desk: Desk,
    spool: Spool,
    credentials: ServerCredentials | None = None,
    *,
    root: Path | None = None,
    signal: SpoolSignal | None = None,
) -> AccessLogService:
    """The whole back door over an open spool, which it closes when it ends.

    Spools below ``root`` whose settlers are gone are taken over; ``signal`` hears when there is no
    room.
    """
    around, settings = desk.around, desk.settings
    adopter = None if root is None else _adopter(root, desk)
    intake = Intake(
        spool,
        usage_headers=settings.judge.usage_headers,
        chunk_entries=settings.server.chunk_entries,
        when_full=settings.spool.when_full,
        metrics=around.metrics,
        notices=desk.notices,
    )
    expirer = Expirer(
        around.ledger,
        desk.publisher,
        settings=settings.expire,
        oldest_us=lambda: _oldest_us(spool, adopter),
        now_us=around.now_us,
        metrics=around.metrics,
        notices=desk.notices,
    )
    parts = Parts(
        spool,
        AccessLogServer(intake, settings.server, around.metrics, desk.notices, credentials),
        _pump(spool, desk),
        desk.publisher,
        expirer,
        adopter,
        _teller(signal, intake, desk),
    )
    return AccessLogService(parts, settings, desk.notices, around.now_s)
