"""Who a key belongs to, in Postgres, and the news of what changed there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast, get_args

import asyncpg

from billing.stores.postgres_faults import postgres_faults
from billing.stores.protocol import Change, ChangeKind
from billing.stores.queries import load_queries
from billing.subscriptions import Principal, Subscription

SQL = load_queries("workers.sql")
CHANNEL = "tollkeeper_changes"
CONNECT_TIMEOUT_S = 5.0
RETRY_S = 0.2
PROBE_S = 1.0
"""How often the listening connection is asked whether it still stands."""
MAX_UNREAD = 100_000
"""Changes that wait for a reader; when more come, all are dropped and ``lost`` is told instead."""
KINDS = frozenset(get_args(ChangeKind))


_AWAY = Change("lost", detail="away")


class PostgresPrincipals:
    """:class:`billing.stores.protocol.PrincipalStore`: look-ups over a pool, changes by
    LISTEN/NOTIFY.

    ``application_name`` names the listening session, by which others see that this worker lives.
    """

    def __init__(
        self, pool: asyncpg.Pool, dsn: str, application_name: str, deadline_s: float = 2.0
    ) -> None:
        self._pool = pool
        self._dsn = dsn
        self._application_name = application_name
        self._deadline_s = deadline_s

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        """The principals of those keys that exist; one query for all of them."""
        with postgres_faults("find principals"):
            rows = await self._pool.fetch(
                SQL["principals"], list(key_hashes), timeout=self._deadline_s
            )
        return {row["hash"]: _principal(row) for row in rows}

    async def changes(self) -> AsyncIterator[Change]:
        """What changes from now on; after each loss of the connection first ``lost``, once it is
        back.

        A ``Change("lost", detail="away")`` comes as soon as the loss is seen.
        """
        while True:
            unread: asyncio.Queue[Change] = asyncio.Queue()  # bounded by _enqueue
            connection = await self._listen(unread)
            if connection is None:
                await asyncio.sleep(RETRY_S)
                continue
            try:
                yield Change("lost", detail="back")
                async for change in _heard(connection, unread):
                    yield change
            finally:
                connection.terminate()
            yield _AWAY

    async def _listen(self, unread: asyncio.Queue[Change]) -> asyncpg.Connection | None:
        """A connection that listens, or ``None`` when there is none to be had just now: the caller
        told ``lost`` already and tries again."""

        def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            _enqueue(unread, str(payload))

        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                server_settings={"application_name": self._application_name},
            )
            connection.add_termination_listener(lambda _: unread.put_nowait(_AWAY))
            await connection.add_listener(CHANNEL, hear)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return connection


async def _heard(
    connection: asyncpg.Connection, unread: asyncio.Queue[Change]
) -> AsyncIterator[Change]:
    """Changes as they come, until the connection is found dead."""
    while True:
        try:
            change = await asyncio.wait_for(unread.get(), PROBE_S)
        except TimeoutError:
            if not await _stands(connection):
                return
        else:
            if change is _AWAY:
                return
            yield change


async def _stands(connection: asyncpg.Connection) -> bool:
    try:
        await connection.fetchval("SELECT 1", timeout=PROBE_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _enqueue(unread: asyncio.Queue[Change], payload: str) -> None:
    kind, _, rest = payload.partition(" ")
    account_id, _, detail = rest.partition(" ")
    if kind not in KINDS:
        return  # a newer version's news, not for us
    if kind == "barrier":
        account_id, detail = "", rest
    if unread.qsize() >= MAX_UNREAD:
        while not unread.empty():
            unread.get_nowait()
        unread.put_nowait(Change("lost", detail="back"))
        return
    unread.put_nowait(Change(cast("ChangeKind", kind), account_id, detail))


def _principal(row: asyncpg.Record) -> Principal:
    subscriptions = {
        fields[0]: Subscription(*fields) for fields in json.loads(row["subscriptions"] or "[]")
    }
    return Principal(
        key_id=row["key_id"],
        key_status=row["key_status"],
        key_expires_s=row["expires_s"],
        scopes=frozenset(row["scopes"]),
        account_id=row["account_id"],
        account_status=row["account_status"],
        tier=row["tier"],
        subscriptions=subscriptions,
    )
