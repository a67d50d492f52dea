"""Calling what is ours, pages and the gateway, over TLS where they have it."""

from __future__ import annotations

import ssl

import httpx

from tollkeeper.tls_files import ClientTls

CONNECTIONS = 100
"""Of one client at once, unless it says otherwise."""


def page_client(
    timeout_s: float,
    tls: ClientTls | None,
    trust: ssl.SSLContext,
    base_url: str = "",
    connections_max: int | None = CONNECTIONS,
) -> httpx.AsyncClient:
    """A client of pages, or of the gateway; ``trust`` is :func:`trust_of` of the same ``tls``.

    A certificate has to be for ``tls.server_name``, where there is one, whatever the address is.
    """
    name = None if tls is None else tls.server_name

    async def call_by_name(request: httpx.Request) -> None:
        if name is not None:
            request.extensions = {**request.extensions, "sni_hostname": name}

    hooks = {"request": [call_by_name]}
    limits = httpx.Limits(max_connections=connections_max)
    transport = _Transport(verify=trust, limits=limits)
    return httpx.AsyncClient(
        base_url=base_url, timeout=timeout_s, transport=transport, event_hooks=hooks
    )


class _Transport(httpx.AsyncHTTPTransport):
    """Tells every refusal as httpx's own error: with TLS 1.3 a server that wants a certificate says
    so after the handshake, which httpx does not translate."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except ssl.SSLError as error:
            raise httpx.ConnectError(str(error), request=request) from error


def trust_of(tls: ClientTls | None) -> ssl.SSLContext:
    """Whose certificates are believed: the system's authorities' where nothing is set.

    Raises :class:`~billing.errors.ConfigError` for files that cannot be used.
    """
    return ssl.create_default_context() if tls is None else tls.context()
