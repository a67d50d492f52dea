"""Rules follow their files, without a restart and without a dropped request.

A broken file changes nothing but what health, metrics and the log say. The system's own notices are
acted upon at once; beside them the directory is looked at every so often, for file systems
that send none and for directories that are swapped by a symbolic link.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from watchfiles import awatch

from ratelimit.errors import RulesRefused
from ratelimit.metrics import Metrics
from ratelimit.rule_files import load_directory, rule_paths
from ratelimit.rules import RuleSet

_log = logging.getLogger(__name__)
_Fingerprint = tuple[tuple[str, int, int, int], ...]


class RulesHealth(NamedTuple):
    """Whether the rules in force are the ones in the files, and if not, why."""

    ok: bool
    detail: str


class RuleWatch:
    """Loads a directory of rules, now and whenever it changes."""

    def __init__(
        self,
        directory: Path,
        take: Callable[[RuleSet], None],
        metrics: Metrics,
        *,
        merge_domains: bool,
        poll_s: float,
    ) -> None:
        self.directory = directory
        self.health = RulesHealth(ok=False, detail="not loaded yet")
        self._take = take
        self._metrics = metrics
        self._merge_domains = merge_domains
        self._poll_s = poll_s
        self._seen: _Fingerprint | None = None
        metrics.gauges["rules_ok"] = lambda: float(self.health.ok)

    def load(self) -> None:
        """Load the rules for the first time. Raises :class:`RulesRefused`."""
        self._seen = _fingerprint(self.directory)
        self._put_in_force(load_directory(self.directory, merge_domains=self._merge_domains))

    async def run(self) -> None:
        """Follow the files until cancelled."""
        while True:
            try:
                await self._follow(self.directory.resolve())
            except OSError as error:
                _log.warning("cannot watch %s: %s", self.directory, error)
                await asyncio.sleep(self._poll_s)
                await self._look()

    async def _follow(self, target: Path) -> None:
        """Look at every notice, until the directory's name leads elsewhere."""
        timeout_ms = max(1, int(self._poll_s * 1000))
        notices = awatch(target, rust_timeout=timeout_ms, yield_on_timeout=True, recursive=False)
        async for _ in notices:
            await self._look()
            if self.directory.resolve() != target:
                return

    async def _look(self) -> None:
        """Load the files again when one of them is not what it was."""
        try:
            seen = await asyncio.to_thread(_fingerprint, self.directory)
            if seen == self._seen:
                return
            self._seen = seen
            rules = await asyncio.to_thread(
                load_directory, self.directory, merge_domains=self._merge_domains
            )
        except RulesRefused as error:
            self._refused(error)
        else:
            self._put_in_force(rules)

    def _put_in_force(self, rules: RuleSet) -> None:
        self._take(rules)
        self.health = RulesHealth(ok=True, detail=f"{len(rules.domains)} domains")
        self._metrics.events["rules_loaded"] += 1
        for warning in rules.warnings:
            _log.warning("%s", warning)
        _log.info("rules of %d domains are in force", len(rules.domains))

    def _refused(self, error: RulesRefused) -> None:
        """The old rules stay in force."""
        if not self.health.ok and self.health.detail == str(error):
            return
        self.health = RulesHealth(ok=False, detail=str(error))
        self._metrics.events["rules_refused"] += 1
        for finding in error.findings:
            _log.error("the rules stay as they were: %s", finding)


def _fingerprint(directory: Path) -> _Fingerprint:
    """What tells one content of the directory from another without reading it."""
    seen = []
    for path in rule_paths(directory):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # gone since the listing; the next look sees it
        seen.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(seen)
