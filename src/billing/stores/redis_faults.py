"""Redis's errors as faults of ours, and the deadline that every call is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis import exceptions

from billing.errors import StoreUnavailable

TRY_AGAIN = (
    OSError,
    TimeoutError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.MaxConnectionsError,
    exceptions.RedisClusterException,
)


@asynccontextmanager
async def redis_faults(what: str, deadline_s: float) -> AsyncIterator[None]:
    """Run a call within its deadline; what can be tried again rises as ``StoreUnavailable``."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TRY_AGAIN as error:
        raise StoreUnavailable(f"{what}: {type(error).__name__} {error}") from error
