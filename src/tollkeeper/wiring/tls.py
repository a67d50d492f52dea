"""Server credentials of gRPC from files, read again when they change: certificates are short-lived
and nobody restarts a role for them."""

from __future__ import annotations

from typing import Any

import grpc
import structlog

from billing.errors import ConfigError
from tollkeeper.tls_files import ListenerTls, Stamp, read_tls_file

log = structlog.get_logger("tls")


def server_credentials(tls: ListenerTls | None) -> grpc.ServerCredentials | None:
    """Credentials for a listener, ``None`` for one in clear.

    Raises :class:`ConfigError` when a file cannot be used. Files that change later are taken up at
    the next handshake; while they cannot be read, the old ones are shown.
    """
    if tls is None:
        return None
    tls.check()
    files = _Files(tls)
    fetch: Any = files.fetch  # None is as good as an answer, which its type does not say
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(), fetch, require_client_authentication=tls.client_ca is not None
    )


class _Files:
    """One listener's files, and what they looked like when they were read."""

    def __init__(self, tls: ListenerTls) -> None:
        self._tls = tls
        self._stamp: Stamp = ()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Read them; raises :class:`ConfigError`."""
        self._stamp = self._tls.stamp()
        authority = None if self._tls.client_ca is None else read_tls_file(self._tls.client_ca)
        pair = (read_tls_file(self._tls.key), read_tls_file(self._tls.certificate))
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks at each handshake: the files anew, or ``None`` when they are the same."""
        try:
            return None if self._tls.stamp() == self._stamp else self.configuration()
        except ConfigError as error:
            log.warning("certificates not taken up, the old ones are shown", why=str(error))
            return None
