"""TLS of a hosted worker's listener: the files of the settings, as the Envoy around it takes them.

Envoy reads certificates again only when something is renamed within a folder that it watches; how
people replace files differs. So the supervisor looks at the files itself, as ``grpc.aio`` does, and
renames a mark within a folder of its own when Envoy is to read them again. That folder holds paths,
no keys.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from billing.errors import ConfigError
from tollkeeper.envoy_render.downstream_tls import tls_socket, write_secrets
from tollkeeper.envoy_render.vocabulary import Rendered
from tollkeeper.tls_files import ListenerTls, Stamp

log = structlog.get_logger("tls")

LOOK_S: Final = 1.0
"""How often the files are looked at."""
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
        folder = Path(self._folder.name)
        write_secrets(self._tls, folder, watched=folder)
        return tls_socket(self._tls, folder, ["h2"])

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

    def _look(self) -> None:
        if self._tls.stamp() == self._shown:
            return
        self._shown = self._tls.check()
        fresh = Path(self._folder.name, f"{_MARK}.new")
        fresh.touch()
        fresh.replace(fresh.with_suffix(""))
        log.info("certificates taken up")
