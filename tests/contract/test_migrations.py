"""Migrations over a real Postgres: applied once, by whoever comes first, and never changed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from billing.errors import ConfigError, StoreUnavailable
from billing.ledger import PLATFORM, make_transfer
from billing.stores.postgres_chain import append_batch, lock_chain
from devstack import Postgres, free_port
from tests.contract.schema_dump import SCHEMA, dump_schema
from tollkeeper.migrate import MIGRATIONS, migrate, pending, read_migrations


async def test_every_migration_is_applied_once(empty_database: str) -> None:
    """The first run applies all in order, the second nothing."""
    names = [migration.name for migration in read_migrations()]
    assert await pending(empty_database) == names
    assert await migrate(empty_database) == names
    assert await migrate(empty_database) == []
    assert await pending(empty_database) == []


async def test_two_machines_may_migrate_at_once(empty_database: str) -> None:
    """Of six that start together one applies everything, the others find nothing to do."""
    applied = await asyncio.gather(*(migrate(empty_database) for _ in range(6)))
    names = [migration.name for migration in read_migrations()]
    assert sorted(applied, key=len) == [[]] * 5 + [names]


async def test_schema_is_the_committed_one(database: str) -> None:
    """Migrations from empty make exactly migrations/schema.sql; write it anew after a new one."""
    assert await dump_schema(database) == SCHEMA.read_text()


async def test_changed_migration_is_refused(empty_database: str, tmp_path: Path) -> None:
    """A file whose text changed after it was applied stops everything, newer ones included."""
    folder = _copied(tmp_path)
    await migrate(empty_database, folder)
    first = folder / read_migrations()[0].name
    first.write_text(first.read_text() + "\n-- an afterthought\n")
    (folder / "9999_new.sql").write_text("CREATE TABLE new (n bigint)")
    with pytest.raises(ConfigError, match="was changed after it was applied"):
        await migrate(empty_database, folder)
    assert await pending(empty_database, folder) == ["9999_new.sql"]


async def test_broken_migration_leaves_nothing_of_itself(
    empty_database: str, tmp_path: Path
) -> None:
    """What fails half-way is rolled back whole, and can be applied once it is put right."""
    folder = _copied(tmp_path)
    broken = folder / "9999_broken.sql"
    broken.write_text("CREATE TABLE half (n bigint); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database, folder)
    broken.write_text("CREATE TABLE half (n bigint)")
    assert await migrate(empty_database, folder) == ["9999_broken.sql"]


async def test_folder_without_migrations_is_told(empty_database: str, tmp_path: Path) -> None:
    """An installation without its migrations says so."""
    with pytest.raises(ConfigError, match="no migrations"):
        await migrate(empty_database, tmp_path)


async def test_absent_server_is_told() -> None:
    """A server that does not answer is a fault that can be tried again."""
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await migrate(f"postgresql://p@127.0.0.1:{free_port()}/d")


async def test_rows_of_the_ledger_cannot_be_changed_by_their_owner(
    postgres_server: Postgres,
) -> None:
    """For a role that is no superuser the privilege is missing, and the ledger still works."""
    dsn = await _database_of_plain_role(postgres_server)
    await migrate(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        await _write_one(connection)
        for change in (
            "DELETE FROM transfers",
            "DELETE FROM batches",
            "DELETE FROM usage_events",
            "DELETE FROM audit_log",
            "UPDATE transfers SET amount = 1",
            "UPDATE usage_events SET units = 1",
            "UPDATE batches SET created_at = now()",
            "TRUNCATE transfers CASCADE",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(change)
    finally:
        await connection.close()


async def test_superuser_is_stopped_by_triggers(database: str) -> None:
    """Whom no privilege stops, the trigger does; a correction is the way."""
    connection = await asyncpg.connect(database)
    try:
        await _write_one(connection)
        for change in (
            "UPDATE transfers SET amount = 1",
            "UPDATE batches SET created_at = now()",
            "DELETE FROM transfers",
            "DELETE FROM batches",
            "TRUNCATE transfers CASCADE",
        ):
            with pytest.raises(asyncpg.RestrictViolationError, match="post a correction instead"):
                await connection.execute(change)
    finally:
        await connection.close()


def _copied(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    return folder


async def _database_of_plain_role(server: Postgres) -> str:
    """A database that belongs to a role which is nothing but its owner."""
    name = f"plain_{free_port()}"
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    finally:
        await connection.close()
    return server.dsn(name).replace("postgres@", f"{name}@", 1)


async def _write_one(connection: asyncpg.Connection) -> None:
    """One transfer in one batch, as every write of money is made."""
    transfer = make_transfer(PLATFORM, PLATFORM, "topup", 5, 1)
    async with connection.transaction():
        await append_batch(connection, await lock_chain(connection), "topup", [transfer], ())
