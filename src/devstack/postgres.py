"""A real Postgres 18 of our own: one data directory, one loopback port, one Unix socket.

Anybody who reaches the loopback port may connect (authentication ``trust``): this is a developer's
database. fsync stays on, so what is measured and killed here behaves as in production.
"""

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from devstack.errors import PartFailed
from devstack.part import Part, Report, silent
from devstack.parts import postgres_binary
from devstack.ports import LOOPBACK, free_port
from devstack.process import POLL_S, Command, run_to_end

SUPERUSER = "postgres"
MAX_SOCKET_DIR_CHARS = 80
"""A Unix socket's whole path may have 103 characters on the strictest system."""
INITDB_TIMEOUT_S = 60.0
KILLED_RUN_TIMEOUT_S = 10.0
_UNPRIVILEGED = "nobody"
_SHARED_MEMORY = Path("/proc/sysvipc/shm")


class Postgres(Part):
    """Postgres over ``data_dir``/data, made on the first start and kept after the last.

    ``settings`` are server settings for this run, by their names in postgresql.conf.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        max_connections: int = 100,
        settings: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
        report: Report = silent,
    ) -> None:
        super().__init__("postgres", data_dir, start_timeout_s=start_timeout_s, report=report)
        self.port = port or free_port()
        self.max_connections = max_connections
        self.settings = dict(settings or {})
        self.cluster_dir = self.data_dir / "data"
        self.socket_dir = self.data_dir / "socket"
        self._borrowed_socket_dir: Path | None = None

    @property
    def address(self) -> str:
        """``host:port`` on the loopback interface."""
        return f"{LOOPBACK}:{self.port}"

    def dsn(self, database: str = "postgres") -> str:
        """How to connect over TCP."""
        return f"postgresql://{SUPERUSER}@{self.address}/{database}"

    def socket_dsn(self, database: str = "postgres") -> str:
        """How to connect over the Unix socket, which is faster."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.socket_dir}&port={self.port}"

    async def prepare(self) -> None:
        """Make the directories and, once, the database cluster."""
        await asyncio.to_thread(self._make_directories)
        await self._until_a_killed_run_is_gone()
        if not (self.cluster_dir / "PG_VERSION").exists():
            self.report("postgres: making a new database (initdb)")
            await run_to_end("initdb", self._initdb(), self.log_path, INITDB_TIMEOUT_S)

    def command(self) -> Command:
        """The server in the foreground; interrupt is its fast shutdown, quit its immediate one."""
        return Command(
            argv=(str(postgres_binary("postgres")), "-D", str(self.cluster_dir), *self._options()),
            stop=((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0)),
            death_signal=signal.SIGINT,
            user=self._user(),
        )

    async def answers(self) -> bool:
        """Whether the postmaster wrote ``ready`` into its status file, as pg_ctl would ask."""
        return await asyncio.to_thread(self._is_ready)

    async def stop(self) -> None:
        """End it in order and remove the borrowed socket directory."""
        await super().stop()
        if self._borrowed_socket_dir is not None:
            shutil.rmtree(self._borrowed_socket_dir, ignore_errors=True)
            self._borrowed_socket_dir = None

    async def _until_a_killed_run_is_gone(self) -> None:
        """Wait for the backends of a killed postmaster: it would not start beside them."""
        try:
            async with asyncio.timeout(KILLED_RUN_TIMEOUT_S):
                while await asyncio.to_thread(_shared_memory_in_use, self.cluster_dir):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            reason = f"another server still uses {self.cluster_dir}"
            raise PartFailed(self.name, reason, ()) from None

    def _is_ready(self) -> bool:
        try:
            status = (self.cluster_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(status) >= 8 and status[0] == str(self.pid) and status[7].strip() == "ready"

    def _make_directories(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if len(str(self.data_dir / "socket")) > MAX_SOCKET_DIR_CHARS:
            self._borrowed_socket_dir = Path(tempfile.mkdtemp(prefix="tk-"))
            self.socket_dir = self._borrowed_socket_dir
        for directory in (self.cluster_dir, self.socket_dir):
            directory.mkdir(mode=0o700, exist_ok=True)
            if (user := self._user()) is not None:
                entry = pwd.getpwnam(user)
                os.chown(directory, entry.pw_uid, entry.pw_gid)

    def _user(self) -> str | None:
        """Who root becomes: the owner of an existing database, else the least of all users."""
        if os.geteuid() != 0:
            return None
        if self.cluster_dir.exists() and (owner := self.cluster_dir.stat().st_uid) != 0:
            return pwd.getpwuid(owner).pw_name
        return _UNPRIVILEGED

    def _initdb(self) -> Command:
        return Command(
            argv=(
                *(str(postgres_binary("initdb")), "-D", str(self.cluster_dir), "-U", SUPERUSER),
                *("--auth=trust", "--encoding=UTF8", "--locale-provider=builtin"),
                *("--locale=C", "--builtin-locale=C.UTF-8"),
            ),
            user=self._user(),
        )

    def _options(self) -> tuple[str, ...]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "max_connections": str(self.max_connections),
            "fsync": "on",
            "log_destination": "stderr",
            "logging_collector": "off",
            **self.settings,
        }
        return tuple(part for key, value in options.items() for part in ("-c", f"{key}={value}"))


def _shared_memory_in_use(cluster_dir: Path) -> bool:
    """Whether a process is attached to the segment that the last postmaster noted (Linux only)."""
    pid_file = cluster_dir / "postmaster.pid"
    if not (pid_file.exists() and _SHARED_MEMORY.exists()):
        return False
    noted = pid_file.read_text().splitlines()
    if len(noted) < 7:
        return False
    segment = noted[6].split()[-1]
    rows = [line.split() for line in _SHARED_MEMORY.read_text().splitlines()]
    id_column, attached_column = rows[0].index("shmid"), rows[0].index("nattch")
    return any(row[id_column] == segment and row[attached_column] != "0" for row in rows[1:])
