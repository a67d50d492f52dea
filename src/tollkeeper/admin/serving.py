"""``tollkeeper serve admin``: the API on its listener, and the file's catalog in the database.

It also watches the books: it checks the ledger by itself and shows what stands in them.

The role applies ``tollkeeper.yaml`` to the database when it starts and whenever the file changes,
so what is in force is visible by API, with who put it there.
"""

from __future__ import annotations

import asyncio
import socket

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from billing.catalog import Catalog
from billing.errors import TollkeeperError
from billing.stores.postgres_audit import Actor
from tollkeeper.admin.app import create_app
from tollkeeper.admin.callers import AdminDeps
from tollkeeper.catalog_watch import CatalogWatch
from tollkeeper.operations.catalog import apply_catalog
from tollkeeper.operations.desk import Desk, open_desk
from tollkeeper.pages import HttpServer
from tollkeeper.running import run_beside
from tollkeeper.settings import Settings
from tollkeeper.wiring.books import open_books

log = structlog.get_logger("admin")

RETRY_S = 5.0
"""Between two attempts to apply the file while Postgres is away."""


async def serve_admin(
    settings: Settings,
    stop: asyncio.Event,
    registry: CollectorRegistry,
    gateway_secret: str | None = None,
) -> None:
    """Serve until ``stop`` is set; without ``gateway_secret`` there is no self-service."""
    watch = CatalogWatch(settings, registry, with_credentials=False)
    dsn = settings.require_postgres_dsn()
    async with (
        open_desk(dsn, settings.postgres_pool_connections) as desk,
        open_books(settings, registry) as books,
    ):
        keeper = CatalogKeeper(desk, watch)
        app = create_app(AdminDeps(desk, lambda: watch.catalog, gateway_secret), registry)
        log.info("serving", address=str(settings.admin_listen))
        listening = _listen(app, settings, stop)
        await run_beside(listening, (watch.run(keeper.offer), keeper.run(), *books))


class CatalogKeeper:
    """Brings every configuration that is taken up into the database, once it answers."""

    def __init__(self, desk: Desk, watch: CatalogWatch) -> None:
        self._desk = desk
        self._watch = watch
        self._changed = asyncio.Event()
        self._changed.set()

    def offer(self, _catalog: Catalog) -> None:
        """Hear of a configuration that was taken up."""
        self._changed.set()

    async def run(self) -> None:
        """Apply what is in force, now and after each change, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not await self._apply():
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    async def _apply(self) -> bool:
        """Apply the configuration in force; False when trying again can help."""
        actor = Actor(f"configuration on {socket.gethostname()}", "reload")
        try:
            async with self._desk.act(actor, "apply configuration") as act:
                applied = await apply_catalog(act, self._watch.config)
        except TollkeeperError as error:
            log.error(  # noqa: TRY400 - the text says all; a traceback says nothing more
                "configuration not applied to the database", why=str(error)
            )
            return False
        if applied:
            log.info("configuration applied", plans=applied.plans, prices=applied.prices)
        return True


async def _listen(app: FastAPI, settings: Settings, stop: asyncio.Event) -> None:
    """Serve until told to stop, then finish what is in hand within the deadline."""
    server = HttpServer(
        app,
        settings.admin_listen,
        settings.admin_tls,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_deadline_s,
    )

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve()
    finally:
        ending.cancel()
        await asyncio.wait([ending])
