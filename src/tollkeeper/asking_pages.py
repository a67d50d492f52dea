"""Asking our own pages for health and metrics, over TLS where they have it."""

from __future__ import annotations

import ssl

import httpx

from tollkeeper.tls_files import ClientTls


def page_client(
    timeout_s: float, tls: ClientTls | None, trust: ssl.SSLContext
) -> httpx.AsyncClient:
    """A client of pages; ``trust`` comes from :func:`trust_of` of the same ``tls``.

    A certificate has to be for ``tls.server_name``, where there is one, whatever the address is.
    """
    name = None if tls is None else tls.server_name

    async def call_by_name(request: httpx.Request) -> None:
        if name is not None:
            request.extensions = {**request.extensions, "sni_hostname": name}

    hooks = {"request": [call_by_name]}
    return httpx.AsyncClient(timeout=timeout_s, verify=trust, event_hooks=hooks)


def trust_of(tls: ClientTls | None) -> ssl.SSLContext:
    """Whose certificates are believed: the system's authorities' where nothing is set.

    Raises :class:`~billing.errors.ConfigError` for files that cannot be used.
    """
    return ssl.create_default_context() if tls is None else tls.context()
