"""What the settlement benchmark sends: admitted requests, journaled, with the stream's messages."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import uuid_utils

from billing.catalog import Catalog
from billing.meters.values import Ask, Quote
from billing.reservations import Hold, JournalRow
from billing.shares import FLIGHT, UsualShares
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.postgres_workers import PostgresWorkers
from billing.stores.protocol import Absent
from billing.stores.redis_hot import RedisHotStore
from billing.ticket import Ticket, TicketSeal
from envoyapi.accesslog_data_v3_pb2 import AccessLogType
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage

ROUTE = "chat"
MODEL = "gpt-4o-mini"
LIFETIME_S = 3_600
MICROS = 1_000_000
EPOCH = 1
AT_ONCE = 5_000


@dataclass(frozen=True)
class Work:
    """Requests to settle: their messages, and how many of the entries are duplicates."""

    messages: list[bytes]
    requests: int
    duplicates: int


async def open_accounts(pool: asyncpg.Pool, count: int) -> list[str]:
    """Accounts without credits: settlement takes no notice, and nothing is admitted here."""
    ids = [str(uuid_utils.uuid7()) for _ in range(count)]
    await pool.execute(
        "INSERT INTO accounts (id, name) SELECT id, 'bench ' || id FROM unnest($1::uuid[]) AS id",
        ids,
    )
    await pool.execute(
        "INSERT INTO ledger_accounts (account_id, code) SELECT id, 'credits'"
        " FROM unnest($1::uuid[]) AS id",
        ids,
    )
    return ids


def make_tickets(
    catalog: Catalog, accounts: Sequence[str], count: int, admitted_us: int
) -> list[Ticket]:
    """Admitted chats, one account after another."""
    route = catalog.routes[ROUTE]
    version = catalog.prices.at(admitted_us / MICROS)
    assert version is not None, "the example has a price for today"
    ask = Ask(body_bytes=400, model=MODEL, max_output_tokens=500)
    quote = version.tariffs[route.tariff].quote(ask)
    assert isinstance(quote, Quote), quote
    tickets = []
    for account_id in itertools.islice(itertools.cycle(accounts), count):
        reservation_id = str(uuid_utils.uuid7())
        expires_s = admitted_us // MICROS + LIFETIME_S
        tickets.append(
            Ticket(
                reservation_id=reservation_id,
                account_id=account_id,
                key_id=str(uuid_utils.uuid7()),
                route=ROUTE,
                profile=route.profile,
                price_version=version.version,
                held_nanos=quote.max_nanos,
                quoted_nanos=quote.max_nanos,
                admitted_us=admitted_us,
                expires_s=expires_s,
                shares=UsualShares(FLIGHT, 0, 0),
                basis=dict(quote.basis),
            )
        )
    return tickets


async def journal(pool: asyncpg.Pool, tickets: Sequence[Ticket]) -> None:
    """Write the reservations as pending, as the front door does."""
    workers = PostgresWorkers(pool, str(uuid_utils.uuid7()), "bench", 60.0)
    rows = [
        JournalRow(
            t.reservation_id,
            t.account_id,
            t.key_id,
            t.profile,
            t.route,
            t.price_version,
            t.held_nanos,
            t.quoted_nanos,
            t.record(),
            "{}",
            t.admitted_us,
            t.admitted_us // MICROS + LIFETIME_S,
        )
        for t in tickets
    ]
    for start in range(0, len(rows), AT_ONCE):
        await workers.record(rows[start : start + AT_ONCE])


async def copy_accounts(
    pool: asyncpg.Pool, hot: RedisHotStore, accounts: Sequence[str], now_s: float
) -> None:
    """Build the hot copies, live reservations included, so that there is something to tell."""
    truths = await PostgresTruth(pool, 60.0).truth(accounts, now_s)
    for account_id, truth in truths.items():
        probe = Hold("00000000-0000-7000-8000-000000000000", account_id, 0, 0)
        (absent,) = await hot.admit(EPOCH, [probe])
        assert isinstance(absent, Absent), absent
        await hot.load(EPOCH, [(absent.token, truth)])


def make_work(
    tickets: Sequence[Ticket],
    seal: TicketSeal,
    per_message: int,
    *,
    duplicates_percent: int = 0,
    first_end_us: int = 0,
    step_us: int = 0,
) -> Work:
    """The stream's messages; message n says that its requests ended at ``first + n x step``."""
    signed = [seal.sign(ticket) for ticket in tickets]
    duplicates = len(signed) * duplicates_percent // 100
    sent = signed + random.Random(7).sample(signed, duplicates)
    messages = [
        _message(sent[start : start + per_message], first_end_us + number * step_us)
        for number, start in enumerate(range(0, len(sent), per_message))
    ]
    return Work(messages, len(signed), duplicates)


def _message(signed: Sequence[str], end_us: int) -> bytes:
    message = StreamAccessLogsMessage()
    for text in signed:
        entry = message.http_logs.log_entry.add()
        common = entry.common_properties
        metadata = common.metadata.filter_metadata
        metadata["envoy.filters.http.ext_authz"].update({"ticket": text, "plan": "unlimited"})
        metadata["tollkeeper.usage"].update(
            {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150, "model": MODEL}
        )
        common.start_time.FromMicroseconds(end_us - 120_000)
        common.duration.FromMicroseconds(120_000)
        common.upstream_request_attempt_count = 1
        common.access_log_type = AccessLogType.DownstreamEnd
        common.upstream_cluster = common.route_name = "chat"
        common.stream_id = "0198c0de-0000-7000-8000-00000000abcd"
        entry.request.request_body_bytes, entry.response.response_body_bytes = 400, 900
        entry.request.path, entry.request.authority = "/v1/chat/completions", "gateway"
        entry.request.user_agent = "an SDK of the usual length/1.2.3"
        entry.response.response_code.value = 200
        entry.response.response_code_details = "via_upstream"
    return message.SerializeToString()
