"""The roles of unary methods: what each of them answers, and what runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from billing.ticket import Ticket
from envoyapi.auth_v3_pb2 import CheckResponse
from extauthz.handler import CheckFailed
from extauthz.server import SERVICE as CHECK_SERVICE
from ratelimit.errors import InvalidRequest, StoreUnavailable
from ratelimit.http_app import Pages
from ratelimit.server import SERVICE as RATELIMIT_SERVICE
from ratelimit.service import Service
from tollkeeper.addresses import Address
from tollkeeper.catalog_watch import CatalogWatch
from tollkeeper.config import load_config
from tollkeeper.pages import Check, pages, serve_http
from tollkeeper.settings import Settings, UnaryRole
from tollkeeper.telemetry import new_registry, traced
from tollkeeper.unary.method import Answer, Beginning, Method
from tollkeeper.unary.status import CallFailed, Code
from tollkeeper.unary.trace_headers import with_trace_headers
from tollkeeper.wiring.authz import FrontDoor, open_front_door
from tollkeeper.wiring.ratelimit import ratelimit_settings


@dataclass(frozen=True, slots=True)
class Served:
    """A role that is ready to answer; ``jobs`` have to run as long as it does,
    ``registry`` has its metrics.

    ``traced`` asks whoever carries the calls to remember their trace headers.
    """

    service: str
    registry: CollectorRegistry
    methods: Mapping[str, Method]
    jobs: Sequence[Coroutine[Any, Any, None]]
    traced: bool = False


OpenRole = Callable[[Settings, int, Callable[[], bool]], AbstractAsyncContextManager[Served]]
"""Settings, the worker's number, and whether it is draining."""


@asynccontextmanager
async def open_authz(
    settings: Settings, worker: int, draining: Callable[[], bool]
) -> AsyncIterator[Served]:
    """One worker of the front door."""
    registry = new_registry()
    watch = CatalogWatch(settings, registry, with_credentials=True)
    async with (
        traced(settings, "authz", worker) as tracing,
        open_front_door(settings, watch.catalog, registry) as front,
    ):
        checks = {
            "config": watch.readiness,
            "listener": readiness_of(settings.authz_addresses[worker], draining),
        }
        where = settings.authz_metrics_addresses[worker]
        shown = serve_http(pages(registry, checks), where, settings.metrics_tls)
        most_bytes = front.limits.max_message_bytes
        answer: Answer = front.handler.check
        begin: Beginning | None = front.handler.begin
        if tracing is not None:
            answer = with_trace_headers(tracing.unary_checks(answer))
            begin = None
        check = Method(answer, _check_fault, most_bytes, partial(_let_go, front), begin)
        yield Served(
            CHECK_SERVICE,
            registry,
            {f"/{CHECK_SERVICE}/Check": check},
            (*front.jobs, watch.run(front.door.offer), shown),
            traced=tracing is not None,
        )


@asynccontextmanager
async def open_ratelimit(
    settings: Settings, worker: int, draining: Callable[[], bool]
) -> AsyncIterator[Served]:
    """The rate-limit service; it has one worker."""
    assert worker == 0, "rate limits are counted by one process"
    own, registry = ratelimit_settings(settings), new_registry()
    config = load_config(settings.config_file, settings)
    service = Service(own, config.ratelimit.directory)
    registry.register(service.metrics)
    await service.start()
    try:
        facts = service.facts()._replace(draining=draining)
        shown = Pages(service.handler, facts, registry, own.request_size_max_bytes)
        where = settings.ratelimit_metrics_listen
        limit = Method(service.handler.should_rate_limit, _limit_fault, own.request_size_max_bytes)
        yield Served(
            RATELIMIT_SERVICE,
            registry,
            {f"/{RATELIMIT_SERVICE}/ShouldRateLimit": limit},
            (service.rules.run(), serve_http(shown.app(), where, settings.metrics_tls)),
        )
    finally:
        await service.close()


ROLES: Mapping[UnaryRole, OpenRole] = {"authz": open_authz, "ratelimit": open_ratelimit}


def readiness_of(address: Address, draining: Callable[[], bool]) -> Check:
    """Whether this worker's address answers, and the worker takes new calls."""

    async def readiness() -> str:
        if draining():
            return "draining"
        try:
            if address.path:
                _, writer = await asyncio.open_unix_connection(address.path)
            else:
                _, writer = await asyncio.open_connection(address.host, address.port)
        except OSError as error:
            return f"{address} does not answer: {error}"
        writer.close()
        return ""

    return readiness


def _let_go(front: FrontDoor, answer: bytes) -> None:
    """Nobody took this answer: what it holds has to end."""
    fields = CheckResponse.FromString(answer).dynamic_metadata.fields
    if "ticket" not in fields:
        return
    ticket = front.door.seal.open(fields["ticket"].string_value)
    assert isinstance(ticket, Ticket), "it was signed a moment ago"
    front.reserver.let_go(ticket.account_id, ticket.reservation_id)


def _check_fault(error: Exception) -> CallFailed | None:
    if isinstance(error, CheckFailed):
        return CallFailed(Code[error.code], error.message)
    return None


def _limit_fault(error: Exception) -> CallFailed | None:
    if isinstance(error, InvalidRequest):
        return CallFailed(Code.INVALID_ARGUMENT, str(error))
    if isinstance(error, StoreUnavailable):
        return CallFailed(Code.UNAVAILABLE, error.reason)
    return None
