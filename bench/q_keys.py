"""A thousand keys, a hundred thousand, a million: p99 and memory, with requests by Zipf's law.

Accounts, keys, subscriptions and balances are copied into Postgres directly; the ledger's own
invariants are not asked of them. Each number of keys has accounts of its own, so every load begins
with what the last one left, and is warmed up by its own keys.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import ascii_letters, digits

from rich.table import Table

from bench.answers import Answer, Pace
from bench.load import put_load
from bench.offer import PLAN
from bench.rounds import Case, Row, take_turns
from bench.stage import BALANCE_NANOS, Stage
from billing.keys import SECRET_CHARS, generate_key, hash_key

NUMBERS = (1_000, 100_000, 1_000_000)
QUICK_NUMBERS = (1_000, 100_000)
REQUESTS = 400_000
"""Keys in the list of a load: as many as it sends requests, so that its tail is really met."""
WARM_S = 6.0
CHUNK = 50_000


async def ask(stage: Stage, pace: Pace) -> Answer:
    """Load every number of keys in turns."""
    numbers = QUICK_NUMBERS if pace.quick else NUMBERS
    randomly = random.Random(7)
    cases = []
    for number in numbers:
        keys = await _make_keys(stage, number, randomly)
        keys_file = stage.home / f"keys-{number}"
        _write_zipf(keys_file, keys, randomly)
        case = Case(f"{number:,} keys", "everything", "ping-inline", keys_file=keys_file)
        await put_load(stage.target(case.gateway, case.route, keys_file), 64, WARM_S)
        await stage.until_settled(120)
        cases.append(case)
    rows = await take_turns(stage, cases, 2, pace.seconds * 1.5)
    few, many = rows[cases[0].name], rows[cases[-1].name]
    figures = {"keys_memory_mib": many.memory_mib("authz")}
    if not pace.quick:
        figures["keys_p99_ratio"] = many.p99_ms / few.p99_ms
    return Answer("keys", [row.told() for row in rows.values()], _table(rows), figures)


def _table(rows: dict[str, Row]) -> Table:
    table = Table(title="Keys (Zipf), everything on", title_justify="left")
    for heading in ("", "req/s", "p50 ms", "p99 ms", "authz MiB", "redis MiB"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in rows.items():
        memory = [f"{row.memory_mib(process):,.0f}" for process in ("authz", "redis")]
        table.add_row(name, f"{row.per_s:,.0f}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", *memory)
    return table


def _write_zipf(path: Path, keys: Sequence[str], randomly: random.Random) -> None:
    """Key number n comes in proportion to 1/n."""
    weights = [1 / rank for rank in range(1, len(keys) + 1)]
    drawn = randomly.choices(keys, weights, k=max(REQUESTS, 1))
    path.write_text("\n".join(drawn))


async def _make_keys(stage: Stage, number: int, randomly: random.Random) -> list[str]:
    """So many accounts with a key, a balance and a subscription each."""
    keys: list[str] = []
    for start in range(0, number, CHUNK):
        count = min(CHUNK, number - start)
        accounts = [uuid.UUID(int=randomly.getrandbits(128), version=4) for _ in range(count)]
        fresh = _fresh_keys(count, randomly)
        await _copy(stage, number, accounts, fresh)
        keys += fresh
    await stage.ledger.execute("ANALYZE accounts, api_keys, subscriptions, ledger_accounts")
    return keys


def _fresh_keys(count: int, randomly: random.Random) -> list[str]:
    letters = iter(randomly.choices(ascii_letters + digits, k=count * SECRET_CHARS))
    return [generate_key(lambda _alphabet: next(letters)) for _ in range(count)]


async def _copy(
    stage: Stage, number: int, accounts: Sequence[uuid.UUID], keys: Sequence[str]
) -> None:
    now = datetime.now(UTC)
    period = (now - timedelta(days=1), now + timedelta(days=27))
    tables: dict[str, tuple[Sequence[str], Iterator[tuple[object, ...]]]] = {
        "accounts": (("id", "name"), ((one, f"{number} {one}") for one in accounts)),
        "ledger_accounts": (
            ("account_id", "code", "credits", "version"),
            ((one, "credits", BALANCE_NANOS, 1) for one in accounts),
        ),
        "api_keys": (
            ("account_id", "id", "hash", "display"),
            (
                (one, uuid.uuid4(), hash_key(key), key[-4:])
                for one, key in zip(accounts, keys, strict=True)
            ),
        ),
        "subscriptions": (
            ("account_id", "profile", "plan", "period_start", "period_end"),
            ((one, "llm", PLAN, *period) for one in accounts),
        ),
    }
    for table, (columns, records) in tables.items():
        await stage.ledger.copy_records_to_table(table, records=records, columns=list(columns))
