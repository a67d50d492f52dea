"""Puts the parts together and runs them until told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import uvicorn
from prometheus_client import CollectorRegistry

from ratelimit.errors import SettingRefused
from ratelimit.fallback import Fallback
from ratelimit.handler import Handler
from ratelimit.http_app import Facts, Pages
from ratelimit.limiter import Limiter
from ratelimit.metrics import Metrics
from ratelimit.reload import RuleWatch
from ratelimit.response import ResponseShape
from ratelimit.server import GrpcServer, ServerCredentials
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.memory import MemoryStore
from ratelimit.stores.opening import open_store

_log = logging.getLogger(__name__)


class Listening(NamedTuple):
    """Where the service answers, once it does; 0 for a Unix socket or for no HTTP."""

    grpc_port: int
    http_port: int


class RateLimitTls(NamedTuple):
    """TLS of the gRPC port (credentials) and of the pages (uvicorn's options); in clear without."""

    credentials: ServerCredentials | None = None
    http_options: Mapping[str, Any] = MappingProxyType({})


class Service:
    """Everything between a transport and the stores: for :func:`serve`, and for whoever hosts
    :attr:`handler` or settles through :attr:`limiter` in a process of its own."""

    def __init__(
        self,
        settings: RateLimitSettings,
        rules_dir: Path,
        *,
        clock_us: Callable[[], int] | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics(settings.metric_values_max)
        self.opened = open_store(settings)
        self.metrics.lanes = self.opened.lanes
        local = MemoryStore(settings.memory_counters_max)
        self.limiter = Limiter(
            self.opened.store,
            Fallback(settings.on_failure, settings.local_share, local, self.metrics),
            settings,
            self.metrics,
            clock_us=clock_us or wall_clock_us,
        )
        self.handler = Handler(self.limiter, _shape(settings), self.metrics)
        self.rules = RuleWatch(
            rules_dir,
            self.limiter.take_rules,
            self.metrics,
            merge_domains=settings.merge_domains,
            poll_s=settings.reload_poll_s,
        )
        self.draining = False
        self._count_memory("local_counters", local)
        if isinstance(self.opened.store, MemoryStore):
            self._count_memory("memory_counters", self.opened.store)

    async def start(self) -> None:
        """Load the rules and connect. Raises :class:`ratelimit.errors.RulesRefused`; a store that
        does not answer yet is no reason to stay down."""
        self.rules.load()
        await self.opened.warm_up()

    async def close(self) -> None:
        """Let go of the store."""
        await self.opened.store.close()

    def facts(self) -> Facts:
        """For the pages."""
        return Facts(
            lambda: self.limiter.rules,
            lambda: self.rules.health,
            self.opened.store.state,
            lambda: self.draining,
        )

    def _count_memory(self, name: str, counters: MemoryStore) -> None:
        self.metrics.gauges[name] = lambda: counters.held
        self.metrics.gauges[f"{name}_forgotten"] = lambda: counters.forgotten


async def serve(
    settings: RateLimitSettings,
    rules_dir: Path,
    *,
    stop: asyncio.Event,
    registry: CollectorRegistry | None = None,
    listening: Callable[[Listening], None] | None = None,
    clock_us: Callable[[], int] | None = None,
    tls: RateLimitTls | None = None,
) -> None:
    """Answer requests until ``stop`` is set, then finish what is under way.

    ``listening`` is told the ports once both servers answer. Raises
    :class:`ratelimit.errors.RulesRefused` and :class:`ratelimit.errors.SettingRefused` before
    anything listens, OSError for an address that cannot be had; and the fault of a part that dies.
    """
    service = Service(settings, rules_dir, clock_us=clock_us)
    registry = registry or CollectorRegistry()
    registry.register(service.metrics)
    try:
        await service.start()
        await _run(service, registry, stop, listening, tls or RateLimitTls())
    finally:
        registry.unregister(service.metrics)
        await service.close()


async def _run(
    service: Service,
    registry: CollectorRegistry,
    stop: asyncio.Event,
    listening: Callable[[Listening], None] | None,
    tls: RateLimitTls,
) -> None:
    settings = service.settings
    grpc_server = GrpcServer(service.handler, settings, tls.credentials)
    pages = Pages(service.handler, service.facts(), registry, settings.request_size_max_bytes)
    async with asyncio.TaskGroup() as parts:
        http = _HttpServer(pages, settings, tls.http_options) if settings.http_listen else None
        if http is not None:
            parts.create_task(http.run())
        watching = parts.create_task(service.rules.run())
        grpc_port = await grpc_server.start()
        _log.info("rate limits are answered on %s", settings.listen)
        if listening:
            listening(Listening(grpc_port, http.port if http else 0))
        try:
            await stop.wait()
        finally:
            service.draining = True
            await grpc_server.stop()
            watching.cancel()
            if http is not None:
                http.stop()


class _HttpServer:
    """uvicorn on a socket of our own, so that its port is known, and without its signal handlers,
    since signals belong to whoever started us."""

    def __init__(
        self, pages: Pages, settings: RateLimitSettings, tls_options: Mapping[str, Any]
    ) -> None:
        self._socket = _bound(settings.http_listen)
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            pages.app(),
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=max(1, int(settings.drain_deadline_s)),
            **tls_options,
        )
        self._server = _NoSignals(config)

    async def run(self) -> None:
        try:
            await self._server.serve([self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        self._server.should_exit = True


class _NoSignals(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise SettingRefused(f"http_listen must be host:port, not {address}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), int(port)))
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {address}: {error}") from error
    return bound


def _shape(settings: RateLimitSettings) -> ResponseShape:
    names = (settings.header_limit, settings.header_remaining, settings.header_reset)
    return ResponseShape(
        names if settings.response_headers else None, settings.response_dynamic_metadata
    )


def wall_clock_us() -> int:
    """The time that windows follow, unless a test has another."""
    return time.time_ns() // 1000
