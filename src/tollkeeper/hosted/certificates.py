"""TLS of a hosted worker's listener: the files of the settings, as the Envoy around it takes them.

Envoy reads certificates again only when something is renamed within a folder that it watches; how
people replace files differs. So the supervisor looks at the files itself, as ``grpc.aio`` does, and
renames a mark within a folder of its own when Envoy is to read them again. That folder holds paths,
no keys.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from billing.errors import ConfigError
from tollkeeper.envoy_render.vocabulary import Rendered, extension, typed
from tollkeeper.tls_files import ListenerTls, Stamp

log = structlog.get_logger("tls")

LOOK_S: Final = 1.0
"""How often the files are looked at."""
_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a message's name
_MARK = "changed"


class Certificates:
    """The files of one listener, followed while a worker runs."""

    def __init__(self, tls: ListenerTls) -> None:
        self._tls = tls
        self._folder = TemporaryDirectory(prefix="tollkeeper-tls-")
        self._shown: Stamp = ()

    def transport_socket(self) -> Rendered:
        """The listener's; raises :class:`ConfigError` when it could show nothing."""
        self._shown = self._tls.check()
        chain, key = _file(self._tls.certificate), _file(self._tls.key)
        pair = {"certificate_chain": chain, "private_key": key}
        common: Rendered = {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [self._write("tls_certificate", pair)],
        }
        fields: Rendered = {"common_tls_context": common}
        if self._tls.client_ca is not None:
            trusted = {"trusted_ca": _file(self._tls.client_ca)}
            authority = self._write("validation_context", trusted)
            common["validation_context_sds_secret_config"] = authority
            fields["require_client_certificate"] = True
        return extension("envoy.transport_sockets.tls", _CONTEXT, fields)

    async def follow(self) -> None:
        """Let Envoy read the files again whenever they have changed, for ever; while they cannot
        be used, it shows the old ones."""
        told = ""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._look()
            except ConfigError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("certificates not taken up, the old ones are shown", why=told)
            else:
                told = ""

    def close(self) -> None:
        """Remove what Envoy was told."""
        self._folder.cleanup()

    def _write(self, kind: str, fields: Rendered) -> Rendered:
        """Where Envoy finds a secret of that kind."""
        watched = {"watched_directory": {"path": self._folder.name}}
        secret = typed(_SECRET, {"name": kind, kind: fields | watched})
        path = Path(self._folder.name, f"{kind}.json")
        path.write_text(json.dumps({"resources": [secret]}))
        return {"name": kind, "sds_config": {"path_config_source": {"path": str(path)}}}

    def _look(self) -> None:
        if self._tls.stamp() == self._shown:
            return
        self._shown = self._tls.check()
        fresh = Path(self._folder.name, f"{_MARK}.new")
        fresh.touch()
        fresh.replace(fresh.with_suffix(""))
        log.info("certificates taken up")


def _file(path: Path) -> Rendered:
    return {"filename": str(path.absolute())}
