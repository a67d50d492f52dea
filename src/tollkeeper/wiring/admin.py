"""The management API over its own connections to Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from billing.catalog import Catalog
from tollkeeper.admin.app import create_app
from tollkeeper.admin.callers import AdminDeps
from tollkeeper.operations.desk import open_desk
from tollkeeper.settings import Settings


@asynccontextmanager
async def open_admin(
    settings: Settings, catalog: Callable[[], Catalog], registry: CollectorRegistry
) -> AsyncIterator[FastAPI]:
    """The application, ready to be served; ``catalog`` gives the one in force."""
    dsn = settings.require_postgres_dsn()
    async with open_desk(dsn, settings.postgres_pool_connections) as desk:
        yield create_app(AdminDeps(desk, catalog, settings.gateway_secret_text), registry)
