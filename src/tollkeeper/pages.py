"""What a role shows over HTTP beside its work: ``/metrics``, ``/livez`` and ``/readyz`` with
detail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tollkeeper.addresses import Address
from tollkeeper.tls_files import ListenerTls

Check = Callable[[], Awaitable[str]]
"""Says what is wrong, or nothing in an empty text."""


class Notice(str):
    """What a person should know of and no balancer: told by ``/readyz``, which stays at 200."""

    __slots__ = ()


CHECK_TIMEOUT_S = 2.0


def pages(registry: CollectorRegistry, checks: Mapping[str, Check]) -> Starlette:
    """The pages of one role; ``checks`` are asked at each ``/readyz``, all at once."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        found = await asyncio.gather(*(_ask(check) for check in checks.values()))
        detail = {name: said or "ok" for name, said in zip(checks, found, strict=True)}
        wrong = [said for said in found if said and not isinstance(said, Notice)]
        return JSONResponse(detail, status_code=503 if wrong else 200)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/livez", livez),
            Route("/readyz", readyz),
        ]
    )


async def _ask(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"did not answer within {CHECK_TIMEOUT_S} s"


class HttpServer(uvicorn.Server):
    """uvicorn on an address of ours, inside a role that handles signals itself.

    ``options`` are further ones of :class:`uvicorn.Config`.
    """

    def __init__(
        self, app: Starlette, address: Address, tls: ListenerTls | None = None, **options: Any
    ) -> None:
        encryption = {} if tls is None else tls.uvicorn_options()
        config = uvicorn.Config(
            app,
            host=address.host,
            port=address.port,
            uds=address.path or None,
            log_config=None,
            access_log=False,
            lifespan="off",
            **encryption,
            **options,
        )
        super().__init__(config)
        self._address = address

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop; raises ``OSError`` when the address cannot be had."""
        try:
            await super().serve(sockets)
        except SystemExit as error:
            raise OSError(f"cannot listen on {self._address}; is it taken?") from error


async def serve_http(app: Starlette, address: Address, tls: ListenerTls | None = None) -> None:
    """Serve until cancelled; raises ``OSError`` when the address cannot be had."""
    server = HttpServer(app, address, tls)
    try:
        await server.serve()
    finally:
        for listening in getattr(server, "servers", ()):  # none before it listens
            listening.close()
