"""How people's work reaches Postgres: transactions that write, and snapshots that only read.

The doors have stores of their own with tight deadlines; what an operator asks may take longer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, cast

import asyncpg

from billing.errors import ConfigError, StoreUnavailable
from billing.stores.postgres_faults import postgres_faults

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection, Pool = asyncpg.Connection, asyncpg.Pool
Record: TypeAlias = asyncpg.Record

CONNECT_TIMEOUT_S = 10.0
NOTHING_MORE: Mapping[str, str] = MappingProxyType({})


async def open_pool(
    dsn: str, connections: int, statement_s: float, session: Mapping[str, str] = NOTHING_MORE
) -> Pool:
    """Connect; ``StoreUnavailable`` when Postgres cannot be reached or does not let us in.

    ``statement_s`` bounds each statement, here and in the server. ``session`` are parameters of
    Postgres for these connections, beside or instead of the usual ones.
    """
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=connections,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=statement_s,
            server_settings={
                "application_name": "tollkeeper",
                "statement_timeout": str(int(statement_s * 1000)),
                "timezone": "UTC",
                **session,
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"Postgres does not answer: {error}") from error
    except ValueError as error:
        raise ConfigError(f"the DSN of Postgres cannot be used: {error}") from error


class PostgresAccess:
    """Transactions over a pool; every fault comes out as one of :mod:`billing.errors`."""

    def __init__(self, pool: Pool, acquire_s: float = 10.0) -> None:
        self._pool = pool
        self._acquire_s = acquire_s

    @asynccontextmanager
    async def writing(self, what: str) -> AsyncIterator[Connection]:
        """A transaction: all of the block is committed at its end, or nothing of it."""
        with _faults(what):
            async with (
                self._pool.acquire(timeout=self._acquire_s) as connection,
                connection.transaction(),
            ):
                yield cast("Connection", connection)

    @asynccontextmanager
    async def reading(self, what: str) -> AsyncIterator[Connection]:
        """One snapshot for all statements of the block; nothing can be written."""
        with _faults(what):
            async with (
                self._pool.acquire(timeout=self._acquire_s) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield cast("Connection", connection)

    async def close(self) -> None:
        """Close the pool, waiting for what is in hand."""
        await self._pool.close()


@contextmanager
def _faults(what: str) -> Iterator[None]:
    with postgres_faults(what):
        try:
            yield
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise ConfigError(
                f"the database lacks a migration ({error}); run `tollkeeper migrate`"
            ) from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigError(f"{what}: {error}; give this role the privilege") from error
