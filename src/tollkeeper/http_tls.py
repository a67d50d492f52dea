"""TLS of HTTP listeners, with files that are read again when they change, as gRPC's are."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import structlog

from billing.errors import ConfigError
from tollkeeper.tls_files import ListenerTls

log = structlog.get_logger("tls")


def renewed_context(tls: ListenerTls, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A listener's context; :class:`ConfigError` when a file cannot be used.

    ``alpn`` are the protocols that it agrees to, by RFC 7301; none: it is not asked.

    Files that change later are taken up at the next handshake; while they cannot be used, the old
    ones are shown.
    """
    files = _Files(tls, alpn)
    context = files.context
    # Asked in each handshake before a certificate is chosen, with a name or without.
    context.sni_callback = files.choose
    return context


class _Files:
    """One listener's files, and the context that was made of them last."""

    def __init__(self, tls: ListenerTls, alpn: Sequence[str]) -> None:
        self._tls = tls
        self._alpn = alpn
        self._seen = tls.stamp()
        self.context = self._make()

    def _make(self) -> ssl.SSLContext:
        context = self._tls.context()
        if self._alpn:
            context.set_alpn_protocols(list(self._alpn))
        return context

    def choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """What the handshake goes on with."""
        self._look()
        connection.context = self.context

    def _look(self) -> None:
        """Each state of the files is judged once, so that a flood of clients costs no reading."""
        try:
            found = self._tls.stamp()
            if found == self._seen:
                return
            self._seen = found
            self.context = self._make()
        except ConfigError as error:
            log.warning("certificates not taken up, the old ones are shown", why=str(error))
        else:
            log.info("certificates taken up")
