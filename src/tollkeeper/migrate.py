"""Migrations: forward only, in order, each in a transaction, under an advisory lock of Postgres.

Safe to run twice and from two machines at once: the second waits for the lock and finds nothing to
do.
A migration whose text changed after it was applied is refused, because no database would then be
what its files say.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from billing.errors import ConfigError, StoreUnavailable
from billing.stores.postgres_faults import postgres_faults

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
LOCK_KEY = 0x746F6C6C  # "toll"
LOCK_TIMEOUT_S = 60.0

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    digest     bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``migrations/``; ``digest`` is the SHA-256 of its text."""

    name: str
    sql: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """All migrations in the order of their names."""
    found = [Migration(path.name, path.read_text()) for path in sorted(folder.glob("[0-9]*.sql"))]
    if not found:
        raise ConfigError(f"no migrations in {folder}; run from a checkout or set the folder")
    return found


async def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply what is missing and return the names of what was applied now."""
    connection = await _connect(dsn)
    try:
        return await _apply_missing(connection, read_migrations(folder))
    finally:
        await connection.close()


async def pending(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """The names of migrations that the database still lacks."""
    connection = await _connect(dsn)
    try:
        with postgres_faults("migrations"):
            known = await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL")
            rows = await connection.fetch("SELECT name FROM schema_migrations") if known else []
    finally:
        await connection.close()
    applied = {row["name"] for row in rows}
    return [m.name for m in read_migrations(folder) if m.name not in applied]


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=10.0)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(f"Postgres does not answer: {error}") from error


async def _apply_missing(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    await connection.execute(
        "SELECT pg_advisory_lock($1)", LOCK_KEY, timeout=LOCK_TIMEOUT_S
    )  # a session lock: closing the connection gives it back
    await connection.execute(_TABLE)
    rows = await connection.fetch("SELECT name, digest FROM schema_migrations")
    applied = {row["name"]: row["digest"] for row in rows}
    _refuse_changed(migrations, applied)
    missing = [m for m in migrations if m.name not in applied]
    for migration in missing:
        await _apply(connection, migration)
    return [m.name for m in missing]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_migrations (name, digest) VALUES ($1, $2)",
            migration.name,
            migration.digest,
        )


def _refuse_changed(migrations: list[Migration], applied: dict[str, bytes]) -> None:
    for migration in migrations:
        digest = applied.get(migration.name)
        if digest is not None and digest != migration.digest:
            raise ConfigError(
                f"migration {migration.name} was changed after it was applied; "
                "restore its text and write a new one"
            )
