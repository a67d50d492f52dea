"""The application: routes of operators, self-service, health and documentation."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from billing.errors import TollkeeperError
from tollkeeper.admin import (
    account_routes,
    catalog_routes,
    key_routes,
    money_routes,
    operator_routes,
    report_routes,
    self_service,
)
from tollkeeper.admin.callers import AdminDeps
from tollkeeper.admin.docs_page import docs_page
from tollkeeper.admin.guard import BodyGuard
from tollkeeper.admin.metrics import AdminMetrics, Metered
from tollkeeper.admin.problems import COMMON, add_handlers, log, problem

ROUTERS = (
    account_routes,
    key_routes,
    money_routes,
    report_routes,
    catalog_routes,
    operator_routes,
    self_service,
)
DESCRIPTION = (
    "Accounts, keys, subscriptions, money and reports. Operators send their token as "
    "`Authorization: Bearer tko_...`; customers come through the gateway with their API key. "
    "Amounts go in as USD in decimal text and come out in whole nano-USD."
)
NO_TELEMETRY = TelemetryConfig(
    tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
)
"""The framework's own would carry bodies, and bodies here hold keys."""


def create_app(deps: AdminDeps, registry: CollectorRegistry | None = None) -> FastAPI:
    """Put the API together over its dependencies; whoever serves it opens and closes those."""
    app = FastAPI(
        telemetry=NO_TELEMETRY,
        title="Tollkeeper",
        description=DESCRIPTION,
        version=version("tollkeeper"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=COMMON,
    )
    registry = registry or CollectorRegistry()
    app.state.deps = deps
    add_handlers(app)
    for module in ROUTERS:
        app.include_router(module.router)
    _add_pages(app, deps, registry)
    app.add_middleware(BodyGuard)
    app.add_middleware(Metered, metrics=AdminMetrics(registry))
    return app


def _add_pages(app: FastAPI, deps: AdminDeps, registry: CollectorRegistry) -> None:
    """Pages without a token: health, metrics, and the documentation of the API."""

    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    async def livez() -> Response:
        return PlainTextResponse("ok\n")

    async def readyz() -> Response:
        try:
            async with deps.desk.access.reading("ready") as connection:
                await connection.fetchval("SELECT 1")
        except TollkeeperError as error:
            log.warning("not ready", why=str(error))
            return problem(503, "unavailable", "Postgres does not answer")
        return PlainTextResponse("ok\n")

    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    for path, page in (
        ("/docs", docs),
        ("/livez", livez),
        ("/readyz", readyz),
        ("/metrics", metrics),
    ):
        app.add_api_route(path, page, include_in_schema=False)
