"""The service for people with curl, for Prometheus and for whoever asks whether it is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ratelimit import request as wire_in
from ratelimit import response as wire_out
from ratelimit.describe import described
from ratelimit.errors import InvalidRequest, StoreUnavailable
from ratelimit.handler import Handler
from ratelimit.reload import RulesHealth
from ratelimit.rules import RuleSet


class Facts(NamedTuple):
    """What the pages show, asked for at each request."""

    rules: Callable[[], RuleSet]
    rules_health: Callable[[], RulesHealth]
    store_state: Callable[[], str]
    draining: Callable[[], bool]


class Pages:
    """The endpoints."""

    def __init__(
        self, handler: Handler, facts: Facts, registry: CollectorRegistry, body_max_bytes: int
    ) -> None:
        self._handler = handler
        self._facts = facts
        self._registry = registry
        self._body_max_bytes = body_max_bytes

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/json", self._json, methods=["POST"]),
                Route("/rlconfig", self._rlconfig),
                Route("/metrics", self._metrics),
                Route("/livez", self._livez),
                Route("/readyz", self._readyz),
                Route("/healthcheck", self._readyz),
            ]
        )

    async def _json(self, request: Request) -> Response:
        """200 within limits, 429 over one, as envoyproxy/ratelimit's endpoint answers."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._body_max_bytes:
                return _refusal(413, f"more than {self._body_max_bytes} bytes")
        try:
            response = await self._handler.answer(wire_in.parse_json(bytes(body)))
        except InvalidRequest as error:
            return _refusal(400, str(error))
        except StoreUnavailable as error:
            return _refusal(503, error.reason)
        status = 429 if response.overall_code == wire_out.OVER_LIMIT else 200
        return Response(wire_out.to_json(response), status, media_type="application/json")

    async def _rlconfig(self, _: Request) -> Response:
        return PlainTextResponse("".join(described(self._facts.rules())))

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _livez(self, _: Request) -> Response:
        return PlainTextResponse("OK")

    async def _readyz(self, _: Request) -> Response:
        """Ready while rules are in force and nobody said stop. Broken files and a store that
        is away do not change that, since requests are answered all the same; they show in the
        detail.
        """
        draining = self._facts.draining()
        rules = self._facts.rules_health()
        told = {
            "status": "draining" if draining else "ready",
            "rules": {"ok": rules.ok, "detail": rules.detail},
            "store": self._facts.store_state(),
        }
        return JSONResponse(told, 503 if draining else 200)


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
