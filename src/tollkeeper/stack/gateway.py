"""Calling the stack's gateway as its clients do: in clear, or over TLS where it has it."""

from __future__ import annotations

import asyncio
import shlex
from urllib.parse import urlsplit

import httpx

from billing.errors import TollkeeperError
from tollkeeper.asking_pages import CONNECTIONS, page_client, trust_of
from tollkeeper.settings import Settings

READY_S = 20.0
_PAUSE_S = 0.05
_SHOWN_CHARS = 300
_REMEDY = "; set TOLLKEEPER_GATEWAY_CLIENT_TLS to what its clients need"


def gateway_url(settings: Settings) -> str:
    """Where clients go, in settings that name the gateway's address."""
    assert settings.gateway_listen is not None, "a stack always chooses it"
    return settings.page_url("gateway", settings.gateway_listen)


def gateway_client(
    settings: Settings, timeout_s: float, connections_max: int | None = CONNECTIONS
) -> httpx.AsyncClient:
    """A client of the gateway, with the certificate that it asks for.

    Raises :class:`~billing.errors.ConfigError` for files that cannot be used.
    """
    tls = None if settings.gateway_tls is None else settings.clients_tls
    return page_client(timeout_s, tls, trust_of(tls), gateway_url(settings), connections_max)


async def until_gateway_answers(settings: Settings, deadline_s: float = READY_S) -> None:
    """It answers, and not with 503: its clusters are healthy.

    Raises :class:`TollkeeperError` with what it said last when that does not come to pass.
    """
    told = "it is not there"
    try:
        async with asyncio.timeout(deadline_s), gateway_client(settings, 2.0) as client:
            while told := await _answer(client):
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        text = f"{gateway_url(settings)} does not answer as it should: {told}"
        raise TollkeeperError(text + ("" if settings.gateway_tls is None else _REMEDY)) from None


async def _answer(client: httpx.AsyncClient) -> str:
    """What is wrong, or nothing; raises :class:`TollkeeperError` for what waiting cannot cure."""
    try:
        answer = await client.get("/flat/ping")
    except httpx.HTTPError as error:
        if "SSL" in str(error):
            text = f"{client.base_url} cannot be called over TLS: {error}{_REMEDY}"
            raise TollkeeperError(text) from error
        return f"{type(error).__name__} {error}".rstrip()
    if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
        return ""
    return f"{answer.status_code} {' '.join(answer.text.split())[:_SHOWN_CHARS]}".rstrip()


def curl(settings: Settings, path: str) -> str:
    """How ``curl -i`` is called for a path of the gateway, as words of a shell."""
    where, tls = urlsplit(gateway_url(settings)), settings.clients_tls
    words = ["curl", "-i"]
    if settings.gateway_tls is None or tls is None:
        return shlex.join([*words, f"{where.geturl()}{path}"])
    words += ["--cacert", str(tls.ca)]
    if tls.certificate is not None:
        words += ["--cert", str(tls.certificate), "--key", str(tls.key)]
    if tls.server_name is None:
        return shlex.join([*words, f"{where.geturl()}{path}"])
    name = f"{tls.server_name}:{where.port}"
    words += ["--connect-to", f"{name}:{where.hostname}:{where.port}"]
    return shlex.join([*words, f"https://{name}{path}"])
