"""The truth about money, in Postgres: settlement, expiry, and the snapshots that the hot copy is
built of.

Each write is one transaction that first locks the end of the hash chain. So the ledger has one
writer at a time, batches have an order, and no two writers can wait for each other. What a batch
must tell the hot copy is promised in the same transaction (table ``unpublished``) and kept by
:meth:`published`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg

from billing.errors import StoreUnavailable
from billing.ledger import SettledBatch, Settlement, Transfer, make_transfer
from billing.reservations import Publication, Used
from billing.stores.postgres_chain import append_batch, copy_rows, lock_chain, post_balances
from billing.stores.postgres_ends import end_reservations
from billing.stores.postgres_faults import postgres_faults
from billing.stores.protocol import QuarantineRow
from billing.stores.queries import load_queries
from billing.stores.settlement_rows import (
    EVENT_COLUMNS,
    SettledRow,
    balance_changes,
    conflict_text,
    daily_rows,
    event_values,
    key_columns,
    make_transfers,
    period_budgets,
    period_rows,
    usage_line,
)

SQL = load_queries("ledger.sql")
DAY_S = 86_400


class PostgresLedger:
    """:class:`billing.stores.protocol.LedgerStore` over a pool of connections.

    ``deadline_s`` bounds each statement; ``charges_on_expiry`` says for which routes a reservation
    whose log entry never came is charged instead of released.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        deadline_s: float = 10.0,
        charges_on_expiry: Callable[[str], bool] = lambda _route: False,
    ) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._charges_on_expiry = charges_on_expiry

    @asynccontextmanager
    async def _writer(self, what: str) -> AsyncIterator[asyncpg.Connection]:
        """A transaction; nothing of it is visible until the block ends without an error."""
        with postgres_faults(what):
            async with (
                self._pool.acquire(timeout=self._deadline_s) as connection,
                connection.transaction(),
            ):
                yield connection  # type: ignore[misc]

    async def settle(self, settlements: Sequence[Settlement], now_us: int) -> SettledBatch:
        """End reservations and post their transfers, in one transaction.

        Raises ``InvalidInput`` when a row of the batch can never be written (an unknown account, a
        value out of range): the caller finds it by halving the batch.
        """
        ids = {s.reservation_id for s in settlements}
        assert len(ids) == len(settlements), "a batch names each reservation once"
        async with self._writer("settle") as connection:
            head = await lock_chain(connection)
            rows, differing = await end_reservations(connection, settlements, now_us)
            await _quarantine(connection, [_conflict(s) for s in differing])
            conflicts = tuple(s.reservation_id for s in differing)
            if not rows:
                return _summary(
                    batch_id=head.batch_id,
                    settlements=settlements,
                    rows=rows,
                    conflicts=conflicts,
                    transfers=(),
                    publications=(),
                )
            refunds = await self._expiry_charges(connection, rows)
            transfers = make_transfers(rows, refunds, now_us)
            events = [row for row in rows if row.settlement.billed]
            values = [event_values(row, now_us) for row in events]
            lines = [usage_line(value) for value in values]
            batch_id = await append_batch(connection, head, "settlement", transfers, lines)
            if events:
                usage = [(*value, batch_id) for value in values]
                await copy_rows(connection, "usage_events", EVENT_COLUMNS, usage)
                await connection.execute(SQL["touch_keys"], *key_columns(events))
            publications = await self._project(connection, rows, events, transfers, now_us)
            await self._promise(connection, batch_id, publications)
        return _summary(
            batch_id=batch_id,
            settlements=settlements,
            rows=rows,
            conflicts=conflicts,
            transfers=transfers,
            publications=publications,
        )

    async def _expiry_charges(
        self, connection: asyncpg.Connection, rows: Sequence[SettledRow]
    ) -> Mapping[str, int]:
        late = [row.settlement for row in rows if row.state == "late"]
        if not late:
            return {}
        found = await connection.fetch(
            SQL["expiry_charges"], [s.account_id for s in late], [s.reservation_id for s in late]
        )
        return {row["source_id"]: row["amount"] for row in found}

    async def _project(
        self,
        connection: asyncpg.Connection,
        rows: Sequence[SettledRow],
        events: Sequence[SettledRow],
        transfers: Sequence[Transfer],
        now_us: int,
    ) -> tuple[Publication, ...]:
        """Bring balances, daily usage and period usage up to the batch; say what to publish."""
        accounts = {row.settlement.account_id for row in rows}
        if not accounts:
            return ()
        used: dict[str, list[Used]] = {account: [] for account in accounts}
        if events:
            await self._add_daily(connection, events, used, now_us)
            await self._add_period(connection, events, used, now_us)
        balances = await post_balances(connection, balance_changes(accounts, transfers))
        ended: dict[str, list[str]] = {account: [] for account in accounts}
        for row in rows:
            ended[row.settlement.account_id].append(row.settlement.reservation_id)
        return tuple(
            Publication(account, *balances[account], tuple(used[account]), tuple(ended[account]))
            for account in accounts
        )

    async def _add_daily(
        self,
        connection: asyncpg.Connection,
        events: Sequence[SettledRow],
        used: Mapping[str, list[Used]],
        now_us: int,
    ) -> None:
        today_s = now_us // 1_000_000 // DAY_S * DAY_S
        for row in await connection.fetch(SQL["add_daily"], *daily_rows(events)):
            if row["day_s"] == today_s:
                budget = Used(f"day:{row['profile']}", today_s, row["price_nanos"])
                used[row["account_id"]].append(budget)

    async def _add_period(
        self,
        connection: asyncpg.Connection,
        events: Sequence[SettledRow],
        used: Mapping[str, list[Used]],
        now_us: int,
    ) -> None:
        periods = await self._periods(connection, list(used), now_us)
        columns = period_rows(events, periods)
        if not columns[0]:
            return
        rows = await connection.fetch(SQL["add_period"], *columns)
        if len(rows) != len(columns[0]):
            raise StoreUnavailable("settle: a subscription was changed meanwhile")
        for row in rows:
            budgets = period_budgets(
                row["profile"], row["start_s"], row["units_used"], row["spent_nanos"]
            )
            used[row["account_id"]].extend(budgets)

    async def _periods(
        self, connection: asyncpg.Connection, accounts: Sequence[str], now_us: int
    ) -> Mapping[tuple[str, str], tuple[int, int]]:
        """The running periods by account and profile, those that are over being renewed first."""
        rows = await connection.fetch(SQL["periods"], accounts)
        if any(row["end_us"] <= now_us for row in rows):
            await connection.execute(SQL["roll_periods"], accounts, now_us // 1_000_000)
            rows = await connection.fetch(SQL["periods"], accounts)
        return {(account, profile): (start, end) for account, profile, start, end in rows}

    async def _promise(
        self,
        connection: asyncpg.Connection,
        batch_id: int,
        publications: Sequence[Publication],
    ) -> None:
        if publications:
            await connection.execute(
                SQL["promise_publication"],
                batch_id,
                [p.account_id for p in publications],
                [ended for p in publications for ended in p.ended],
            )

    async def expire(self, now_us: int, at_most: int) -> SettledBatch:
        """End pending reservations whose lifetime is over, charging where the route says so."""
        async with self._writer("expire") as connection:
            head = await lock_chain(connection)
            overdue = await connection.fetch(SQL["overdue"], now_us / 1_000_000, at_most)
            transfers = [
                make_transfer(row["account_id"], row["id"], "expiry", row["quoted_nanos"], now_us)
                for row in overdue
                if row["quoted_nanos"] > 0 and self._charges_on_expiry(row["route"])
            ]
            accounts = {row["account_id"] for row in overdue}
            if not accounts:
                return SettledBatch(head.batch_id, 0, 0, 0, 0, (), 0, ())
            await connection.execute(
                SQL["mark_expired"],
                [row["account_id"] for row in overdue],
                [row["id"] for row in overdue],
                now_us,
            )
            batch_id = await append_batch(connection, head, "expiry", transfers, ())
            balances = await post_balances(connection, balance_changes(accounts, transfers))
            ended: dict[str, list[str]] = {account: [] for account in accounts}
            for row in overdue:
                ended[row["account_id"]].append(row["id"])
            publications = tuple(
                Publication(account, *balances[account], ended=tuple(ended[account]))
                for account in accounts
            )
            await self._promise(connection, batch_id, publications)
        charged = sum(t.amount_nanos for t in transfers)
        return SettledBatch(batch_id, 0, len(overdue), 0, 0, (), charged, publications)

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of pending reservations; never backwards."""
        if not lives:
            return
        async with self._writer("extend") as connection:
            await connection.execute(
                SQL["extend"],
                [account for account, _, _ in lives],
                [reservation for _, reservation, _ in lives],
                [expires_s for _, _, expires_s in lives],
            )

    async def quarantine(self, rows: Sequence[QuarantineRow]) -> None:
        """Keep entries that cannot be settled, each content once per reason."""
        async with self._writer("quarantine") as connection:
            await _quarantine(connection, rows)


def _conflict(settlement: Settlement) -> QuarantineRow:
    text = conflict_text(settlement)
    return QuarantineRow(settlement.account_id, settlement.reservation_id, "conflict", text)


async def _quarantine(connection: asyncpg.Connection, rows: Sequence[QuarantineRow]) -> None:
    distinct = list({(row.reason, row.digest()): row for row in rows}.values())
    if not distinct:
        return
    await connection.execute(
        SQL["quarantine"],
        [row.account_id for row in distinct],
        [row.reservation_id for row in distinct],
        [row.reason for row in distinct],
        [row.entry for row in distinct],
        [row.digest() for row in distinct],
    )


def _summary(
    *,
    batch_id: int,
    settlements: Sequence[Settlement],
    rows: Sequence[SettledRow],
    conflicts: tuple[str, ...],
    transfers: Sequence[Transfer],
    publications: tuple[Publication, ...],
) -> SettledBatch:
    states = [row.state for row in rows]
    return SettledBatch(
        batch_id=batch_id,
        settled=states.count("settled"),
        released=states.count("released"),
        late=states.count("late"),
        duplicates=len(settlements) - len(rows) - len(conflicts),
        conflicts=conflicts,
        charged_nanos=sum(t.amount_nanos for t in transfers if t.kind == "charge"),
        publications=publications,
    )
