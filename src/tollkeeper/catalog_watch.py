"""The configuration in force: read at the start, and taken up again whenever its file changes.

A broken file is refused, reported and counted, and the old one stays in force. A price version
that is in force is never changed: a file that changes one is broken in that sense.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from watchfiles import awatch

from billing.catalog import Catalog
from billing.errors import ConfigError
from tollkeeper.config import Config, compile_catalog, load_config, resolve_credentials
from tollkeeper.pages import Notice
from tollkeeper.settings import Settings

log = structlog.get_logger("config")
POLL_MS = 1_000
"""How often the file is looked at where the system tells of no change: network file systems, and
folders that are swapped by a symbolic link, as Kubernetes does it."""

Fingerprint = tuple[int, int, int] | None


class CatalogWatch:
    """``config`` and ``catalog`` in force; ``problem`` is why the newest file is not, or empty."""

    def __init__(
        self, settings: Settings, registry: CollectorRegistry, *, with_credentials: bool
    ) -> None:
        self._settings = settings
        self._with_credentials = with_credentials
        self._seen = fingerprint(settings.config_file)
        self.config, self.catalog = self._read()
        self.problem = ""
        self._reloads = Counter(
            "tollkeeper_config_reloads_total",
            "Changes of tollkeeper.yaml, by whether they were taken up.",
            ["result"],
            registry=registry,
        )
        self._stale = Gauge(
            "tollkeeper_config_refused",
            "1 while the newest tollkeeper.yaml is broken and an older one is in force.",
            registry=registry,
        )

    async def run(self, offer: Callable[[Catalog], None]) -> None:
        """Watch for ever; ``offer`` hears of each catalog that is taken up."""
        async for _ in changes_of(self._settings.config_file, self._seen):
            self._reload(offer)

    async def readiness(self) -> str:
        """What is wrong with the newest file, or nothing; the older one goes on serving."""
        return Notice(self.problem and f"an older configuration is in force: {self.problem}")

    def _reload(self, offer: Callable[[Catalog], None]) -> None:
        try:
            config, catalog = self._read()
            _refuse_changed_prices(self.catalog, catalog)
        except ConfigError as error:
            self.problem = str(error)
            self._reloads.labels("refused").inc()
            self._stale.set(1)
            log.error(  # noqa: TRY400 - the text says all; a traceback says nothing more
                "configuration refused, the old one stays in force", problem=self.problem
            )
            return
        self.config, self.catalog, self.problem = config, catalog, ""
        self._reloads.labels("taken").inc()
        self._stale.set(0)
        offer(catalog)
        log.info("configuration taken up")

    def _read(self) -> tuple[Config, Catalog]:
        config = load_config(self._settings.config_file, self._settings)
        credentials = resolve_credentials(config) if self._with_credentials else {}
        return config, compile_catalog(config, credentials)


async def changes_of(path: Path, seen: Fingerprint) -> AsyncIterator[None]:
    """Whenever a file is another one than was seen last, for ever."""
    # The folder is watched, because editors replace a file by another of the same name.
    watched = awatch(path.parent, recursive=False, rust_timeout=POLL_MS, yield_on_timeout=True)
    while True:
        if (found := fingerprint(path)) != seen:
            seen = found
            yield
        await anext(watched)


def fingerprint(path: Path) -> Fingerprint:
    """What changes with every change of a file; ``None`` while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _refuse_changed_prices(old: Catalog, new: Catalog) -> None:
    for version in old.prices.versions:
        found = new.prices.named(version.version)
        if found is not None and found.digest != version.digest:
            raise ConfigError(
                f"price version {version.version} was changed; write a new version instead"
            )
