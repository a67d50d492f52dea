"""``tollkeeper doctor``: looks at every part, and says for each what is wrong and what to do.

Each examination stands for itself: one part that is down does not hide another. Nothing is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from billing.errors import ConfigError, TollkeeperError
from billing.stores.postgres_access import PostgresAccess, open_pool
from billing.stores.postgres_status import BooksStatus, ServerStatus, books_status, server_status
from billing.stores.redis_client import connect
from billing.stores.redis_status import RedisStatus, redis_identity, redis_status
from tollkeeper.config import Config, load_config
from tollkeeper.migrate import pending
from tollkeeper.operations.catalog import definitions_of, plans_in_force, price_book
from tollkeeper.operations.desk import View
from tollkeeper.settings import Settings

Verdict = Literal["ok", "warn", "bad", "skipped"]

DEADLINE_S = 5.0
OLDEST_POSTGRES = 140_000
OLDEST_REDIS = (6, 2)
SKEW_WARN = timedelta(seconds=1)
SKEW_BAD = timedelta(seconds=60)
"""Reservations end by one clock and are expired by another; a minute is the grace of both."""
CHECK_AGE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: which part, how it is, what was seen, and what to do unless it is well."""

    part: str
    verdict: Verdict
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the settings, where Envoy's admin interface and the roles answer."""

    settings: Settings
    envoy_admin_url: str | None
    ready_urls: Sequence[str]


class FileUnusable(ConfigError):
    """``tollkeeper.yaml`` cannot be used, so nothing can be held against it."""


Examination = Callable[[Patient], Awaitable[list[Finding]]]


async def examine(patient: Patient, examinations: Sequence[Examination]) -> list[Finding]:
    """Look at every part, one after the other; a fault is the finding of its part."""
    findings: list[Finding] = []
    for examination in examinations:
        part = examination.__name__.removeprefix("examine_").replace("_", " ")
        try:
            async with asyncio.timeout(DEADLINE_S * 2):
                findings += await examination(patient)
        except TimeoutError:
            said = f"did not answer within {DEADLINE_S * 2:g} s"
            findings.append(Finding(part, "bad", said, f"look at the log of {part}"))
        except FileUnusable as error:
            findings.append(_file_finding(part, error))
        except TollkeeperError as error:
            findings.append(Finding(part, "bad", str(error), REMEDIES.get(part, "set it right")))
    return findings


REMEDIES = {
    "configuration": "correct the file; `tollkeeper envoy validate` checks it again",
    "postgres": "start Postgres, or set TOLLKEEPER_POSTGRES_DSN",
    "books": "run `tollkeeper migrate`, then look again",
    "prices": "run `tollkeeper catalog apply`",
    "redis": "start Redis, or set TOLLKEEPER_REDIS_URL",
}


async def examine_configuration(patient: Patient) -> list[Finding]:
    """The file can be read, and tickets can be signed."""
    config = config_of(patient)
    findings = [Finding("configuration", "ok", f"{len(config.routes)} routes in force by the file")]
    if patient.settings.ticket_secret is None:
        remedy = "set TOLLKEEPER_TICKET_SECRET to 32 random bytes, the same for all workers"
        findings.append(Finding("configuration", "bad", "no ticket secret is set", remedy))
    return findings


async def examine_postgres(patient: Patient) -> list[Finding]:
    """Reachable, new enough, writable, durable, migrated, and of one time with us."""
    dsn = patient.settings.require_postgres_dsn()
    async with _view(dsn) as view:
        asked = datetime.now(UTC)
        server = await server_status(view.connection)
        middle = asked + (datetime.now(UTC) - asked) / 2
    findings = [_server_finding(server), clock_finding("postgres", server.now - middle)]
    missing = await pending(dsn)
    if missing:
        said = f"{len(missing)} migrations are missing, first {missing[0]}"
        findings.append(Finding("postgres", "bad", said, "run `tollkeeper migrate`"))
    if not server.fsync:
        said = "fsync is off: a crash of the machine loses money"
        findings.append(Finding("postgres", "bad", said, "set fsync = on and restart it"))
    if server.superuser:
        said = "we are superuser, whom no privilege stops"
        remedy = "use a role of its own in production"
        findings.append(Finding("postgres", "warn", said, remedy))
    return findings


async def examine_books(patient: Patient) -> list[Finding]:
    """Nothing waits that should not: publications, expiries, a person's look."""
    async with _view(patient.settings.require_postgres_dsn()) as view:
        books = await books_status(view.connection)
    waiting = [
        (books.untold_batches, "batches that Redis was never told of", "bad"),
        (books.overdue_reservations, "reservations past their end and still pending", "bad"),
        (books.quarantined, "entries in quarantine", "warn"),
    ]
    findings = [
        Finding("books", "warn" if verdict == "warn" else "bad", f"{count} {what}", _BOOKS[what])
        for count, what, verdict in waiting
        if count
    ]
    return [*findings, _check_finding(books)]


_BOOKS = {
    "batches that Redis was never told of": "see that `tollkeeper serve accesslog` runs and "
    "reaches Redis",
    "reservations past their end and still pending": "see that `tollkeeper serve accesslog` runs",
    "entries in quarantine": "look at them: `tollkeeper quarantine`",
}


async def examine_prices(patient: Patient) -> list[Finding]:
    """What the file sells is what the database has, and one version is in force."""
    definitions = definitions_of(config_of(patient))
    async with _view(patient.settings.require_postgres_dsn()) as view:
        plans = {plan.name: plan.digest for plan in await plans_in_force(view)}
        prices = {price.version: price for price in await price_book(view)}
    findings = []
    for wanted in definitions.prices:
        known = prices.get(wanted.version)
        if known is None:
            said = f"version {wanted.version} is not in the database"
            findings.append(Finding("prices", "bad", said, REMEDIES["prices"]))
        elif known.digest != wanted.digest.hex():
            said = f"version {wanted.version} has other prices in the database"
            remedy = "restore it in the file and write a new version"
            findings.append(Finding("prices", "bad", said, remedy))
    stale = [plan.name for plan in definitions.plans if plans.get(plan.name) != plan.digest.hex()]
    if stale:
        said = f"plans {', '.join(stale)} differ from the database"
        findings.append(Finding("prices", "warn", said, REMEDIES["prices"]))
    in_force = [price for price in prices.values() if price.in_force]
    if not in_force:
        said = "no price version is in force"
        findings.append(Finding("prices", "bad", said, "add one with an effective_from before now"))
    return findings or [Finding("prices", "ok", f"version {in_force[0].version} is in force")]


async def examine_redis(patient: Patient) -> list[Finding]:
    """Reachable, new enough, keeps what it was given, and is the one that the workers mean."""
    client = connect(patient.settings.require_redis_url(), DEADLINE_S)
    try:
        servers = await redis_status(client, DEADLINE_S)
        running = await redis_identity(client, DEADLINE_S)
    finally:
        await client.aclose()
    findings = [_redis_finding(server) for server in servers]
    if patient.settings.postgres_dsn is not None:
        async with _view(patient.settings.require_postgres_dsn()) as view:
            books = await books_status(view.connection)
        if books.hot_identity not in {"", running}:
            said = "it is not the one that the copies in force were built in"
            remedy = "a worker notices within a second; if none runs: `tollkeeper serve authz`"
            findings.append(Finding("redis", "warn", said, remedy))
    return findings


def config_of(patient: Patient) -> Config:
    """What the file says; ``FileUnusable`` when it says nothing that can be used."""
    try:
        return load_config(patient.settings.config_file, patient.settings)
    except ConfigError as error:
        raise FileUnusable("; ".join(str(error).splitlines())) from error


def _file_finding(part: str, error: FileUnusable) -> Finding:
    """A broken file is one finding, and no other part's fault."""
    if part == "configuration":
        return Finding(part, "bad", str(error), REMEDIES[part])
    said = "there is no configuration to compare it with"
    return Finding(part, "skipped", said, "correct the configuration first")


@asynccontextmanager
async def _view(dsn: str) -> AsyncIterator[View]:
    pool = await open_pool(dsn, 1, DEADLINE_S)
    try:
        async with PostgresAccess(pool, DEADLINE_S).reading("doctor") as connection:
            yield View(connection, datetime.now(UTC))
    finally:
        await pool.close()


def _server_finding(server: ServerStatus) -> Finding:
    said = f"Postgres {server.version}"
    if server.in_recovery:
        return Finding("postgres", "bad", f"{said} is a standby", "point the DSN at the primary")
    if server.version_num < OLDEST_POSTGRES:
        return Finding("postgres", "bad", f"{said} is too old", "use Postgres 14 or newer")
    return Finding("postgres", "ok", said)


def clock_finding(part: str, skew: timedelta) -> Finding:
    """How far a clock is from ours: settlement, expiry and periods go by the time of day."""
    said = f"its clock and ours differ by {abs(skew).total_seconds():.3f} s"
    if abs(skew) < SKEW_WARN:
        return Finding(part, "ok", said)
    verdict: Verdict = "bad" if abs(skew) >= SKEW_BAD else "warn"
    return Finding(part, verdict, said, "let both machines follow a time server")


def _check_finding(books: BooksStatus) -> Finding:
    if books.checked_at is None:
        return Finding("books", "warn", "never checked", "run `tollkeeper ledger check`")
    if books.broken:
        remedy = "docs/operating.md, TollkeeperLedgerBroken"
        return Finding("books", "bad", books.broken, remedy)
    age = datetime.now(UTC) - books.checked_at
    said = f"last found in order at {books.checked_at:%Y-%m-%d %H:%M:%SZ}"
    if age > CHECK_AGE:
        return Finding("books", "warn", said, "run `tollkeeper ledger check`")
    return Finding("books", "ok", said)


def _redis_finding(server: RedisStatus) -> Finding:
    said = f"Redis {server.version}, policy {server.policy}"
    if server.evicts:
        remedy = "set maxmemory-policy noeviction: an evicted copy is rebuilt at a cost"
        return Finding("redis", "bad", f"{said}: it would evict balances", remedy)
    major, minor, *_ = (int(part) for part in server.version.split("."))
    if (major, minor) < OLDEST_REDIS:
        return Finding("redis", "bad", f"{said} is too old", "use Redis 6.2 or newer")
    return Finding("redis", "ok", said)
