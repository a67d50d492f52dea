"""The whole back door over real Postgres and Redis: exactly once, whatever is cut in between."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import grpc
import pytest
from msgspec.structs import replace as replace_fields
from prometheus_client import CollectorRegistry

from accesslog.assembly import Desk, Surroundings, build_service, open_spool
from accesslog.judge import Priced
from accesslog.metrics import PREFIX, AccessLogMetrics
from accesslog.settings import AccessLogSettings, ServerSettings, SettleSettings
from accesslog.settle import POISON
from billing.money import MAX_NANOS
from billing.reservations import Hold, JournalRow
from billing.stores.protocol import Absent
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from billing.ticket import Ticket, TicketSeal
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage
from envoyapi.accesslog_v3_pb2_grpc import AccessLogServiceStub
from tests.contract.cutting_proxy import cutting_proxy
from tests.contract.postgres_bench import PostgresLedgerBench
from tests.unit.accesslog.door import (
    ANNA,
    BOB,
    CATALOG,
    CHAT_NANOS,
    EPOCH,
    SECRET,
    make_entry,
    make_ticket,
)
from tests.unit.accesslog.test_entry import logged, used

PAID_NANOS = 10**12
SETTINGS = AccessLogSettings(
    settle=SettleSettings(batch_entries=20, batch_wait_s=0.005, max_backoff_s=0.05),
    server=ServerSettings(drain_notice_s=0.05, drain_idle_s=0.1),
)


@dataclass
class Office:
    """Real stores with two accounts that have paid, and doors onto them."""

    pool: asyncpg.Pool
    bench: PostgresLedgerBench
    hot: RedisHotStore
    told: list[str]
    numbers: itertools.count[int]

    def desk(self) -> Desk:
        """A settler of its own on the common stores."""
        return Desk(
            Surroundings(
                ledger=self.bench.store,
                truth=self.bench.truth,
                hot=self.hot,
                seal=TicketSeal([SECRET]),
                catalog=lambda: CATALOG,
                now_us=lambda: time.time_ns() // 1000,
                now_s=time.monotonic,
                chance=lambda: 1.0,
                report=self.told.append,
                metrics=AccessLogMetrics(CollectorRegistry()),
            ),
            SETTINGS,
        )

    async def admitted(self, count: int) -> list[Ticket]:
        """Requests of both accounts, journaled as pending."""
        now_us = time.time_ns() // 1000
        tickets = [
            make_ticket(next(self.numbers), now_us, account_id=account_id)
            for account_id in itertools.islice(itertools.cycle((ANNA, BOB)), count)
        ]
        await self.bench.journal.record([_journal_row(ticket) for ticket in tickets])
        return tickets

    async def copy(self) -> None:
        """Build both accounts' hot copies."""
        for account_id, truth in (await self.bench.truth.truth([ANNA, BOB], time.time())).items():
            probe = Hold("00000000-0000-7000-8000-000000000000", account_id, 0, 0)
            (absent,) = await self.hot.admit(EPOCH, [probe])
            assert isinstance(absent, Absent)
            assert await self.hot.load(EPOCH, [(absent.token, truth)]) == [True]

    async def posted_nanos(self) -> dict[str, int]:
        balances = await self.bench.balances()
        return {
            account_id: balances[account_id, "credits"][1] - balances[account_id, "credits"][0]
            for account_id in (ANNA, BOB)
        }


def _journal_row(ticket: Ticket) -> JournalRow:
    return JournalRow(
        ticket.reservation_id,
        ticket.account_id,
        ticket.key_id,
        ticket.profile,
        ticket.route,
        ticket.price_version,
        ticket.held_nanos,
        ticket.quoted_nanos,
        ticket.record(),
        "{}",
        ticket.admitted_us,
        ticket.expires_s,
    )


@pytest.fixture
async def office(database: str, redis_url: str) -> AsyncIterator[Office]:
    client = connect(redis_url, 5.0)
    tokens = itertools.count()
    async with asyncpg.create_pool(database, min_size=1, max_size=6) as pool:
        bench = PostgresLedgerBench(pool)
        for account_id in (ANNA, BOB):
            await bench.open_account(account_id)
            await bench.topup(account_id, PAID_NANOS, "first")
        hot = RedisHotStore(client, lambda: str(next(tokens)), 5.0)
        yield Office(pool, bench, hot, [], itertools.count(1))
    await client.aclose()


def message(texts: Sequence[str]) -> StreamAccessLogsMessage:
    """What Envoy sends of answered chats with these tickets."""
    found = StreamAccessLogsMessage()
    for text in texts:
        entry = logged(found, text)
        entry.common_properties.start_time.FromNanoseconds(time.time_ns())
        used(entry, input_tokens=100, output_tokens=50, model="small")
    return found


async def send(port: int, messages: Sequence[StreamAccessLogsMessage]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = AccessLogServiceStub(channel).StreamAccessLogs()
        for found in messages:
            await stream.write(found)
        await stream.done_writing()
        await stream


async def serve(office: Office, path: Path, messages: Sequence[StreamAccessLogsMessage]) -> Desk:
    """Run a back door from its start to its drain over these messages."""
    desk, stop = office.desk(), asyncio.Event()
    service = build_service(desk, open_spool(path, desk))
    port = await service.start("127.0.0.1:0")
    serving = asyncio.create_task(service.serve(stop))
    await send(port, messages)
    stop.set()
    await serving
    return desk


def counted(desk: Desk, name: str, **labels: str) -> float:
    registry = desk.around.metrics._registry
    return registry.get_sample_value(f"{PREFIX}{name}", labels) or 0.0


async def test_from_the_stream_to_postgres_and_redis(office: Office, tmp_path: Path) -> None:
    """Answered, twice, ongoing and forged entries of one stream end in exact books."""
    tickets = await office.admitted(40)
    await office.copy()
    seal = TicketSeal([SECRET])
    signed = [seal.sign(ticket) for ticket in tickets]
    ongoing = message(signed[30:])
    for entry in ongoing.http_logs.log_entry:
        entry.common_properties.access_log_type = 5  # type: ignore[assignment]
    forged = message([TicketSeal([b"of another installation"]).sign(tickets[35])])
    sent = [ongoing, message(signed[:30]), forged, message(signed[10:20])]
    desk = await serve(office, tmp_path, sent)
    states = await office.bench.states()
    assert [states[t.reservation_id] for t in tickets] == ["settled"] * 30 + ["pending"] * 10
    assert await office.posted_nanos() == {
        ANNA: PAID_NANOS - 15 * CHAT_NANOS,
        BOB: PAID_NANOS - 15 * CHAT_NANOS,
    }
    assert await office.bench.quarantined() == [(None, "ticket_wrong_mac")]
    for account_id, copy in (await office.hot.read([ANNA, BOB])).items():
        assert copy.posted_nanos == PAID_NANOS - 15 * CHAT_NANOS
        pending = {t.reservation_id for t in tickets[30:] if t.account_id == account_id}
        assert {reservation_id for reservation_id, _ in copy.pending} == pending
    promises = await office.bench.truth.promises(0, 100, time.time())
    assert [batch_id for batch_id in promises if batch_id > 0] == []  # the others are of top-ups
    assert counted(desk, "duplicates_total") == 10
    assert counted(desk, "extended_total") == 10


async def test_two_settlers_at_once_share_the_work(office: Office, tmp_path: Path) -> None:
    """The same entries given to two back doors at the same time are charged once."""
    tickets = await office.admitted(200)
    signed = [TicketSeal([SECRET]).sign(ticket) for ticket in tickets]
    sent = [message(signed[n : n + 10]) for n in range(0, 200, 10)]
    desks = await asyncio.gather(
        serve(office, tmp_path / "one", sent), serve(office, tmp_path / "two", sent[::-1])
    )
    assert set((await office.bench.states()).values()) == {"settled"}
    assert sum((await office.posted_nanos()).values()) == 2 * PAID_NANOS - 200 * CHAT_NANOS
    settled = [counted(desk, "ended_total", state="settled") for desk in desks]
    duplicates = [counted(desk, "duplicates_total") for desk in desks]
    assert (sum(settled), sum(duplicates)) == (200, 200)
    assert await office.bench.quarantined() == []


async def test_a_lost_answer_of_commit_charges_once(
    office: Office, database: str, tmp_path: Path
) -> None:
    """Connections are cut around COMMIT, before and after it counts: every entry settles once."""
    tickets = await office.admitted(100)
    signed = [TicketSeal([SECRET]).sign(ticket) for ticket in tickets]
    sent = [message(signed[n : n + 10]) for n in range(0, 100, 10)]
    async with (
        cutting_proxy(database) as (proxy, through),
        asyncpg.create_pool(through, min_size=1, max_size=4) as pool,
    ):
        cut_off = replace(office, bench=PostgresLedgerBench(pool))
        proxy.cuts = ["after", "before", "after"]
        desk = await serve(cut_off, tmp_path, sent)
    assert proxy.done == ["after", "before", "after"]
    assert set((await office.bench.states()).values()) == {"settled"}
    assert sum((await office.posted_nanos()).values()) == 2 * PAID_NANOS - 100 * CHAT_NANOS
    assert len(await office.bench.events()) == 100
    assert await office.bench.quarantined() == []
    assert counted(desk, "retries_total", fault="connection") == 3
    assert counted(desk, "duplicates_total") > 0


async def test_a_session_that_is_terminated_at_work_is_replaced(
    office: Office, database: str, tmp_path: Path
) -> None:
    """A settler's session dies inside its transaction; the batch comes again and settles once."""
    tickets = await office.admitted(10)
    signed = [TicketSeal([SECRET]).sign(ticket) for ticket in tickets]
    other = await asyncpg.connect(database)
    holding = other.transaction()
    await holding.start()
    await other.execute("SELECT 1 FROM ledger_chain FOR UPDATE")
    serving = asyncio.create_task(serve(office, tmp_path, [message(signed)]))
    for _ in range(2):
        await _terminate_who_waits(database)
    await holding.rollback()
    await other.close()
    desk = await serving
    assert set((await office.bench.states()).values()) == {"settled"}
    assert sum((await office.posted_nanos()).values()) == 2 * PAID_NANOS - 10 * CHAT_NANOS
    assert counted(desk, "retries_total", fault="shutdown") >= 1


async def _terminate_who_waits(database: str) -> None:
    """Terminate the session that waits for the end of the chain, as soon as there is one."""
    connection = await asyncpg.connect(database)
    async with asyncio.timeout(10):
        while not await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE '%ledger_chain%'"
        ):
            await asyncio.sleep(0.01)
    await connection.close()


async def test_poison_is_isolated_by_what_postgres_refuses(office: Office) -> None:
    """A charge that no balance can hold goes to quarantine; the other entries settle."""
    tickets = await office.admitted(20)
    desk = office.desk()
    entries = [
        make_entry(TicketSeal([SECRET]).sign(ticket), started_us=ticket.admitted_us)
        for ticket in tickets
    ]
    judged = desk.judge.judge(entries)
    entry, settlement = judged.priced[7]
    judged.priced[7] = Priced(entry, replace_fields(settlement, price_nanos=MAX_NANOS))
    first = desk.judge.judge(entries[1:2])
    await desk.settler.settle(first)
    tally = await desk.settler.settle(judged)
    assert (tally.settled, tally.duplicates, tally.quarantined) == (18, 1, 1)
    assert await office.bench.quarantined() == [(tickets[7].reservation_id, POISON)]
    assert (await office.bench.states())[tickets[7].reservation_id] == "pending"
    assert sum((await office.posted_nanos()).values()) == 2 * PAID_NANOS - 19 * CHAT_NANOS


async def test_a_stranger_is_poison(office: Office) -> None:
    """A ticket of an account that Postgres does not have is kept for a person."""
    desk = office.desk()
    stranger = make_ticket(
        999, time.time_ns() // 1000, account_id="0198c0de-0000-7000-8000-00000000dead"
    )
    (known,) = await office.admitted(1)
    entries = [make_entry(TicketSeal([SECRET]).sign(ticket)) for ticket in (stranger, known)]
    tally = await desk.settler.settle(desk.judge.judge(entries))
    assert (tally.settled, tally.quarantined) == (1, 1)
    assert await office.bench.quarantined() == [(stranger.reservation_id, POISON)]
