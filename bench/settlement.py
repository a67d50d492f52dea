"""Settlement: from the access-log stream to COMMIT, with one settler process.

    python -m bench.settlement [--requests N] [--rounds N] [--json FILE]

The settler is the real role (``tollkeeper serve accesslog``) over a real Postgres with fsync and a
real Redis that holds copies of the accounts; reservations are journaled beforehand, as the front
door does. Counted is what Postgres has committed. Cases take turns in every round and the
median counts. Beside them, on the same server: pgbench's TPC-B, and a settler whose batches hold
one request. ``lag`` is from the moment that Envoy sends an entry to its COMMIT, by Postgres's own
commit timestamps, at half of the rate of the first case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import psutil

from accesslog.server import SERVICE
from bench.settlement_load import (
    Work,
    copy_accounts,
    journal,
    make_tickets,
    make_work,
    open_accounts,
)
from billing.catalog import Catalog
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from billing.ticket import TicketSeal
from devstack import Postgres, Redis, free_port
from devstack.parts import postgres_binary
from tollkeeper.config import compile_catalog, load_config
from tollkeeper.migrate import migrate
from tollkeeper.settings import load_settings

SECRET = "a secret for the benchmark alone"  # noqa: S105 - it guards nothing
PER_MESSAGE = 500
FLUSH_US = 200_000
PGBENCH_SCALE, PGBENCH_CLIENTS, PGBENCH_S = 10, 8, 10
ONE_BY_ONE_SHARE = 50
WRITING_S = 300e-6
"""How long writing an entry of the stream may take at most, where lag is measured."""
START_TIMEOUT_S, SETTLE_TIMEOUT_S = 30.0, 600.0


@dataclass(frozen=True)
class Case:
    """What is settled: of how many accounts, with how many duplicates, in which batches."""

    name: str
    accounts: int
    duplicates_percent: int = 0
    batch_entries: int = 2_000


CASES = (
    Case("10 000 accounts", 10_000),
    Case("one account", 1),
    Case("10 000 accounts, 20 % duplicates", 10_000, 20),
    Case("one request a transaction", 10_000, batch_entries=1),
)


@dataclass(frozen=True)
class Measured:
    """One run: settled requests per second, CPU and disk of each."""

    per_s: float
    python_us: float
    postgres_us: float
    disk_bytes: float


@dataclass(frozen=True)
class Place:
    """Servers, and what is for sale."""

    folder: Path
    postgres: Postgres
    redis: Redis
    pool: asyncpg.Pool
    catalog: Catalog
    accounts: dict[int, list[str]]


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """Postgres, Redis, the schema, and accounts for every case."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        config = load_config(Path("tollkeeper.yaml"), load_settings(home=folder))
        commits = {"track_commit_timestamp": "on"}
        async with Postgres(folder / "pg", settings=commits) as postgres, Redis(folder) as redis:
            await migrate(postgres.dsn())
            async with asyncpg.create_pool(postgres.socket_dsn(), command_timeout=120) as pool:
                accounts = {n: await open_accounts(pool, n) for n in (10_000, 1)}
                catalog = compile_catalog(config, {})
                yield Place(folder, postgres, redis, pool, catalog, accounts)


@asynccontextmanager
async def settler(at: Place, batch_entries: int) -> AsyncIterator[tuple[psutil.Process, str, str]]:
    """The real role: its process, its address, and the URL of its metrics."""
    sink, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    environment = {
        "TOLLKEEPER_HOME": str(at.folder),
        "TOLLKEEPER_POSTGRES_DSN": at.postgres.socket_dsn(),
        "TOLLKEEPER_REDIS_URL": at.redis.url,
        "TOLLKEEPER_TICKET_SECRET": SECRET,
        "TOLLKEEPER_ACCESSLOG_LISTEN": sink,
        "TOLLKEEPER_ACCESSLOG_METRICS_LISTEN": metrics,
        "TOLLKEEPER_SETTLE_BATCH_ENTRIES": str(batch_entries),
        "TOLLKEEPER_SETTLE_BATCH_WAIT_MS": "50",
    }
    with (at.folder / "settler.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tollkeeper.serve", "accesslog"),
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield psutil.Process(process.pid), sink, f"http://{metrics}/metrics"
    finally:
        process.terminate()
        await process.wait()


async def settled(at: Place, after_batch: int) -> int:
    """How many requests were settled after that batch, as committed: looking does not cost the
    settler anything."""
    found = await at.pool.fetchval(
        "SELECT coalesce(sum(usage_events), 0) FROM batches WHERE id > $1", after_batch
    )
    return int(found)


async def last_batch(at: Place) -> int:
    """The end of the ledger's chain."""
    return int(await at.pool.fetchval("SELECT batch_id FROM ledger_chain"))


async def answers(client: httpx.AsyncClient, url: str) -> None:
    """Wait until the settler is up."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def send(address: str, messages: Sequence[bytes], first_s: float = 0.0) -> None:
    """Write all messages, as fast as they are taken or, with ``first_s``, each at its time."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")()
        for number, message in enumerate(messages):
            due_s = first_s + number * FLUSH_US / 1e6 - time.time() if first_s else 0.0
            await asyncio.sleep(max(0.0, due_s))
            await call.write(message)
        await call.done_writing()
        await call


def cpu_s(process: psutil.Process) -> float:
    """CPU time of a process and of its children, those that have ended included."""
    own = process.cpu_times()
    children = sum(cpu_s(child) for child in process.children())
    return own.user + own.system + children


async def prepare(at: Place, case: Case, requests: int) -> Work:
    """Admit and journal so many requests, and build the hot copies that know of them."""
    accounts = at.accounts[case.accounts]
    tickets = make_tickets(at.catalog, accounts, requests, time.time_ns() // 1000)
    await journal(at.pool, tickets)
    client = connect(at.redis.url, 60.0)
    await client.flushall()
    named = sorted({ticket.account_id for ticket in tickets})
    await copy_accounts(at.pool, RedisHotStore(client, lambda: "bench", 60.0), named, time.time())
    await client.aclose()
    return make_work(
        tickets,
        TicketSeal([SECRET.encode()]),
        PER_MESSAGE,
        duplicates_percent=case.duplicates_percent,
        first_end_us=time.time_ns() // 1000,
    )


async def measure(at: Place, case: Case, requests: int) -> Measured:
    """Settle so many requests as fast as they are taken."""
    work = await prepare(at, case, requests)
    await at.pool.execute("CHECKPOINT")
    size = "SELECT pg_database_size(current_database())"
    before_bytes, before = await at.pool.fetchval(size), await last_batch(at)
    server = psutil.Process(at.postgres.pid)
    async with httpx.AsyncClient() as client, settler(at, case.batch_entries) as running:
        process, address, url = running
        await answers(client, url)
        python_s, postgres_s, began_s = cpu_s(process), cpu_s(server), time.perf_counter()
        sending = asyncio.create_task(send(address, work.messages))
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while await settled(at, before) < work.requests:
                await asyncio.sleep(0.02)
        took_s = time.perf_counter() - began_s
        await sending
        python_s, postgres_s = cpu_s(process) - python_s, cpu_s(server) - postgres_s
    grown_bytes = await at.pool.fetchval(size) - before_bytes
    per = 1e6 / work.requests
    disk = grown_bytes / work.requests
    return Measured(work.requests / took_s, python_s * per, postgres_s * per, disk)


async def measure_lag(at: Place, per_s: float, seconds: int) -> dict[str, float]:
    """Lag at a steady rate, in milliseconds, by percentile."""
    per_message = max(1, int(per_s * FLUSH_US / 1e6))
    requests = per_message * seconds * 1_000_000 // FLUSH_US
    accounts = at.accounts[10_000]
    tickets = make_tickets(at.catalog, accounts, requests, time.time_ns() // 1000)
    await journal(at.pool, tickets)
    seal = TicketSeal([SECRET.encode()])
    async with httpx.AsyncClient() as client, settler(at, 2_000) as (_, address, url):
        await answers(client, url)
        before = await last_batch(at)
        ready_s = time.time() + requests * WRITING_S + 1  # nothing is sent late, or it was not lag
        end_us = int(ready_s * 1e6)
        work = make_work(tickets, seal, per_message, first_end_us=end_us, step_us=FLUSH_US)
        assert time.time() < ready_s, "the machine is too busy to measure lag"
        await send(address, work.messages, ready_s)
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while await settled(at, before) < work.requests:
                await asyncio.sleep(0.1)
    row = await at.pool.fetchrow(
        "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY"
        " extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - completed_us / 1000.0) AS lag"
        " FROM usage_events WHERE reservation_id = ANY ($1::uuid[])",
        [ticket.reservation_id for ticket in tickets],
    )
    assert row is not None, "an aggregate has one row"
    return {"per_s": per_s, "p50_ms": float(row["lag"][0]), "p99_ms": float(row["lag"][1])}


async def pgbench(at: Place) -> float:
    """Transactions per second of TPC-B on the same server."""
    await at.pool.execute("CREATE DATABASE pgbench")
    dsn = at.postgres.socket_dsn("pgbench")
    program = str(postgres_binary("pgbench"))
    await _output(program, "-i", "-q", "-s", str(PGBENCH_SCALE), dsn)
    clients = ("-c", str(PGBENCH_CLIENTS), "-j", "2", "-T", str(PGBENCH_S))
    text = await _output(program, "-n", *clients, dsn)
    found = re.search(r"tps = ([\d.]+)", text)
    assert found is not None, text
    await at.pool.execute("DROP DATABASE pgbench")
    return float(found[1])


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    text = (await process.communicate())[0].decode()
    assert process.returncode == 0, text
    return text


async def run(requests: int, rounds: int) -> dict[str, object]:
    """Every case in every round, and what stands beside them."""
    runs: dict[str, list[Measured]] = {case.name: [] for case in CASES}
    async with place() as at:
        for number in range(rounds):
            for case in CASES:
                share = ONE_BY_ONE_SHARE if case.batch_entries == 1 else 1
                found = await measure(at, case, requests // share)
                print(f"round {number + 1}: {case.name}: {found.per_s:.0f}/s", file=sys.stderr)
                runs[case.name].append(found)
        medians = {name: _median(found) for name, found in runs.items()}
        lag = await measure_lag(at, medians[CASES[0].name].per_s / 2, 10)
        tps = await pgbench(at)
    return {
        "cases": {name: asdict(found) for name, found in medians.items()},
        "lag_at_half_rate": lag,
        "pgbench_tps": tps,
    }


def _median(found: Sequence[Measured]) -> Measured:
    columns = zip(*(asdict(run).values() for run in found), strict=True)
    return Measured(*(statistics.median(column) for column in columns))


def show(result: dict[str, object]) -> None:
    """A table with ratios to pgbench and to the settler of one request a transaction."""
    cases = {name: Measured(**found) for name, found in result["cases"].items()}  # type: ignore[attr-defined]
    tps, single = result["pgbench_tps"], cases[CASES[-1].name].per_s
    assert isinstance(tps, float)
    print(f"{'case':34} {'per s':>8} {'x pgbench':>10} {'x single':>9}", end="")
    print(f" {'Python us':>10} {'Postgres us':>12} {'disk B':>7}")
    for name, m in cases.items():
        print(f"{name:34} {m.per_s:8.0f} {m.per_s / tps:10.2f} {m.per_s / single:9.1f}", end="")
        print(f" {m.python_us:10.1f} {m.postgres_us:12.1f} {m.disk_bytes:7.0f}")
    print(f"pgbench TPC-B, {PGBENCH_CLIENTS} clients: {tps:.0f}/s")
    print(f"lag at half rate: {json.dumps(result['lag_at_half_rate'])}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    result = asyncio.run(run(given.requests, given.rounds))
    show(result)
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
