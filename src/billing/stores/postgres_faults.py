"""Postgres's errors as faults of ours: what can be tried again, and what never succeeds.

The classes are those of SQLSTATE (Postgres manual, appendix A). What is not listed is a programming
error and is left to rise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from billing.errors import InvalidInput, StoreUnavailable

TRY_AGAIN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalServerError,
    asyncpg.InternalClientError,  # how the client meets a connection that ends under its hands
)
"""Lost connections, shutdowns, deadlocks, serialization failures, timeouts, a full disk."""

NEVER = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""A value that does not fit its column, or breaks a constraint."""


@contextmanager
def postgres_faults(what: str) -> Iterator[None]:
    """Turn errors of the client or the server into :mod:`billing.errors`, saying what was done."""
    try:
        yield
    except NEVER as error:
        raise InvalidInput(f"{what}: {error}") from error
    except TRY_AGAIN as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__} {error}") from error
    except asyncpg.InterfaceError as error:
        # The client's own errors: an argument that cannot be encoded is for ever, the rest (a
        # closed connection or pool, one that is busy being reset) passes.
        if isinstance(error, ValueError):
            raise InvalidInput(f"{what}: {error}") from error
        raise StoreUnavailable(f"{what}: {error}") from error
