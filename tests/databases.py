"""Databases of a running Postgres: one for each test, made from a template."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from devstack import Postgres

EMPTY = "template1"
MIGRATED = "tollkeeper_template"
_numbers = itertools.count()


async def make_template(server: Postgres) -> str:
    """The name of a database to which every migration was applied; nothing may stay connected."""
    # Imported here, so that tests without a database do not need the program.
    from tollkeeper.migrate import migrate

    await _admin(server, f'CREATE DATABASE "{MIGRATED}"')
    await migrate(server.dsn(MIGRATED))
    return MIGRATED


@asynccontextmanager
async def fresh_database(server: Postgres, template: str) -> AsyncIterator[str]:
    """The DSN of a database that is there inside, and nobody else's."""
    name = f"test_{next(_numbers)}"
    await _admin(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield server.dsn(name)
    finally:
        await _admin(server, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _admin(server: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
