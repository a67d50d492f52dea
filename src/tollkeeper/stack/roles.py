"""Our own roles as parts of a stack: each a process that is ready when its health page says so."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM

import httpx

from devstack import Command, Part
from devstack.part import Report, silent
from tollkeeper.asking_pages import page_client, trust_of
from tollkeeper.tls_files import ClientTls

STOP_S = 12.0
"""Above the drain deadline of the roles, so that an orderly end is never cut short."""
PROBE_TIMEOUT_S = 1.0


class RolePart(Part):
    """``tollkeeper ARGS``, with settings in its environment.

    It answers when ``ready_url`` answers 200, which is asked by ``tls`` where it begins with
    ``https``; it serves on ``listen``.
    """

    def __init__(
        self,
        name: str,
        data_dir: Path,
        args: tuple[str, ...],
        env: Mapping[str, str],
        *,
        listen: str,
        ready_url: str,
        tls: ClientTls | None = None,
        report: Report = silent,
    ) -> None:
        super().__init__(name, data_dir, start_timeout_s=30.0, report=report)
        self._args = args
        self._env = dict(env)
        self._listen = listen
        self._ready_url = ready_url
        self._tls = tls
        self._trust = trust_of(tls)

    @property
    def address(self) -> str:
        return self._listen

    def command(self) -> Command:
        return Command(
            argv=(sys.executable, "-m", *self._args), stop=((SIGTERM, STOP_S),), env=self._env
        )

    async def answers(self) -> bool:
        try:
            async with page_client(PROBE_TIMEOUT_S, self._tls, self._trust) as client:
                return (await client.get(self._ready_url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False
