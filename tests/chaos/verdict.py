"""After the quiet: nothing lost, nothing charged twice, with exact equality.

What cannot be known by anybody is told apart: an answer that the upstream wrote in the moment when
Envoy was killed, before Envoy could note it in its log. It must have ended as expired; where the
worker that admitted it from a lease was killed in the same moment, nobody has heard of it at all.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
import httpx

from billing.reservations import parse_record
from billing.stores.postgres_truth import PostgresTruth
from tests.chaos.arena import CREDIT, Arena
from tests.chaos.held import held_differences
from tests.chaos.quiet import PATIENCE_S, Left, Replaying, let_go, quieten, replay
from tests.chaos.traffic import KINDS, Payer, Witness
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.operations.desk import open_desk
from tollkeeper.wiring.servers import open_servers

ENVOY_FORGETS_S = 1.0
"""What Envoy had not written when it was killed: its flush interval, and a busy machine."""
WORKER_FORGETS_S = 0.5
"""What a worker had neither journaled nor told of when it was killed: 0.1 s, and a busy machine."""
CALLED_BACK_S = 100.0
"""By then about a dozen leases were called back."""
Row = Mapping[str, Any]
FIXED_PRICES = {"ping": CREDIT, "spare": CREDIT, "inline": CREDIT}
EXACT_KINDS = {"ping", "run"}
"""Their routes are closed while Redis is away."""
MOST_LEASED = 512
"""Requests in one lease (``TOLLKEEPER_LEASE_REQUESTS``)."""


class Noted(NamedTuple):
    """An answer as the upstream noted it."""

    kind: str
    request_id: str
    account_id: str
    at_s: float


@dataclass
class Books:
    """Everything that is compared."""

    noted: list[Noted]
    events: dict[str, Row]
    reservations: dict[str, Row]
    posted: dict[str, int]
    quarantine: list[Row]
    replay: dict[str, Any]
    left_leases: Left = ()
    worker_deaths: int = 0
    lost: dict[str, Noted] = field(default_factory=dict)

    def find_lost(self) -> None:
        """Answers without a usage event."""
        self.lost = {n.request_id: n for n in self.noted if n.request_id not in self.events}


async def read_books(arena: Arena, said: dict[str, Any], left: Left) -> Books:
    """All sides of the comparison."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        noted = (await client.get(f"{arena.upstream_url}/_noted")).json()
    connection = await asyncpg.connect(arena.dsn)
    try:
        events = await connection.fetch(
            "SELECT reservation_id::text AS id, account_id::text, route, outcome, status,"
            " price_nanos, facts FROM usage_events"
        )
        ended = await connection.fetch(
            "SELECT id::text, account_id::text, route, state, quoted_nanos FROM reservations"
        )
        posted = await connection.fetch(
            "SELECT account_id::text, (credits - debits)::bigint AS posted"
            " FROM ledger_accounts WHERE code = 'credits'"
        )
        quarantine = await connection.fetch("SELECT reason, reservation_id::text FROM quarantine")
    finally:
        await connection.close()
    books = Books(
        [Noted(*row) for row in noted],
        {row["id"]: dict(row) for row in events},
        {row["id"]: dict(row) for row in ended},
        {row["account_id"]: row["posted"] for row in posted},
        [dict(row) for row in quarantine],
        said,
        left,
        arena.worker_deaths,
    )
    books.find_lost()
    return books


def differences(seen: Witness, books: Books) -> Iterator[str]:
    """Every difference between what happened and what the ledger says, as a sentence."""
    yield from _answered_is_billed(seen, books)
    yield from _ends(books)
    yield from _prices(books)
    for payer in seen.payers.values():
        yield from _balance(payer, books)
        if payer.kinds.keys() <= EXACT_KINDS:
            yield from _never_overspent(payer, seen, books)
        yield from _left_leases(payer, books)
    kept = Counter(row["reason"] for row in books.quarantine)
    if kept != seen.quarantined:
        yield f"quarantine: {dict(kept)}, expected {dict(seen.quarantined)}"
    told = {a.request_id for a in seen.answers if a.status == httpx.codes.OK}
    for ident in told - books.events.keys() - books.lost.keys():
        yield f"a client was answered, the upstream and the ledger do not know it: {ident}"


def _answered_is_billed(seen: Witness, books: Books) -> Iterator[str]:
    """What the upstream answered = usage events, by kind."""
    routes = Counter(KINDS[n.kind].route for n in books.noted if n.request_id not in books.lost)
    billed = Counter(row["route"] for row in books.events.values())
    if routes != billed:
        yield f"answered {dict(routes)}, billed {dict(billed)}"
    ids = Counter(n.request_id for n in books.noted)
    for ident in ids.keys() - books.events.keys():
        noted, row = books.lost[ident], books.reservations.get(ident)
        state = row["state"] if row is not None else "unknown"
        moment = any(-ENVOY_FORGETS_S < noted.at_s - k < 0.5 for k in seen.envoy_kills_s)
        if not (moment and (state == "expired" or (row is None and _untold(seen, noted)))):
            yield f"answered and not billed ({state}): {noted}"
    for ident in books.events.keys() - ids.keys():
        yield f"billed and not answered: {dict(books.events[ident])}"
    yield from (f"answered {times} times: {ident}" for ident, times in ids.items() if times > 1)


def _untold(seen: Witness, noted: Noted) -> bool:
    """Whether the worker that admitted it may have died before it told anybody."""
    return any(-WORKER_FORGETS_S < noted.at_s - k < WORKER_FORGETS_S for k in seen.worker_kills_s)


def _ends(books: Books) -> Iterator[str]:
    """Every reservation has exactly one end, and a usage event exactly where it says so."""
    for ident, row in books.reservations.items():
        billed = ident in books.events
        if row["state"] == "pending":
            yield f"pending: {dict(row)}"
        if billed and row["state"] not in {"settled", "late"}:
            yield f"billed and {row['state']}: {dict(row)}"
        if not billed and row["state"] == "settled":
            yield f"settled without a usage event: {dict(row)}"
    for ident in books.events.keys() - books.reservations.keys():
        yield f"usage without a reservation: {ident}"


def _prices(books: Books) -> Iterator[str]:
    """The same request costs the same, whatever happened; a tool run by its time."""
    kinds = {n.request_id: n.kind for n in books.noted}
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for ident, row in books.events.items():
        kind = kinds.get(ident, "")
        price = row["price_nanos"]
        if kind == "run":
            price -= json.loads(row["facts"])["duration_ms"] * 250
        seen[kind][price] += 1
        if row["status"] == "needs_review" or row["outcome"] != "answered":
            yield f"an answered request is {row['outcome']}, {row['status']}: {dict(row)}"
    for kind, prices in seen.items():
        if len(prices) > 1 or prices.keys() - {FIXED_PRICES.get(kind, min(prices))}:
            yield f"prices of {kind}: {dict(prices)}"


def _balance(payer: Payer, books: Books) -> Iterator[str]:
    """Balance = top-ups minus prices, minus the quotes of what expired on a route that charges."""
    account = payer.customer.account_id
    spent = sum(e["price_nanos"] for e in books.events.values() if e["account_id"] == account)
    expired = sum(
        row["quoted_nanos"]
        for row in books.reservations.values()
        if row["account_id"] == account
        and row["state"] == "expired"
        and row["route"] == KINDS["reported"].route
    )
    expected = payer.paid_in_nanos - spent - expired
    if books.posted[account] != expected:
        yield f"{payer.customer.name}: balance {books.posted[account]}, expected {expected}"


def _never_overspent(payer: Payer, seen: Witness, books: Books) -> Iterator[str]:
    """At no time was more answered than had been paid for by then.

    A reservation that expired although its request was answered had given its credit back: it was
    covered when it was admitted, and is left out. So was one of which nobody has heard.
    """
    account = payer.customer.account_id
    moves: list[tuple[float, int]] = [(at, amount) for at, amount in payer.paid_in]
    for noted in books.noted:
        row = books.reservations.get(noted.request_id)
        counts = not _untold(seen, noted) if row is None else row["state"] == "settled"
        if noted.account_id == account and counts:
            billed = books.events.get(noted.request_id)
            moves.append((noted.at_s, -CREDIT if billed is None else -billed["price_nanos"]))
    left = 0
    for at_s, amount in sorted(moves):
        left += amount
        if left < 0:
            yield f"{payer.customer.name}: {left} nano-USD past its balance at {at_s}"
            return


def _left_leases(payer: Payer, books: Books) -> Iterator[str]:
    """Only a worker that died leaves leases, and none holds more than a lease may."""
    left = [record for account, record in books.left_leases if account == payer.customer.account_id]
    if left and not books.worker_deaths:
        yield f"{payer.customer.name}: {len(left)} leases left, and no worker died"
    most = payer.paid_in_nanos
    if payer.kinds.keys() <= FIXED_PRICES.keys():
        most = min(most, MOST_LEASED * CREDIT)
    for record in left:
        held = parse_record(record).amount_nanos
        if not 0 <= held <= most:
            yield f"{payer.customer.name}: a lease was left with {held} nano-USD"


def unused_leases(seen: Mapping[str, int], seconds: float) -> Iterator[str]:
    """A campaign in which nothing is drawn from leases tries less than it says; so does a long one
    in which none is called back. That is rarer: mostly all workers are short at once, and each
    gives back by itself."""
    if not seen.get("drawn"):
        yield "nothing was drawn from leases"
    if seconds > CALLED_BACK_S and not seen.get("called back"):
        yield f"no lease was called back in {seconds:.0f} s"


async def ledger_differences(arena: Arena) -> Sequence[str]:
    """``ledger check``, whole, Redis included."""
    settings = arena.stack.settings
    async with (
        open_desk(arena.dsn) as desk,
        open_servers(settings, "00000000-0000-0000-0000-0000000000c6", PATIENCE_S) as servers,
    ):
        hot = Hot(servers.hot, PostgresTruth(servers.pool), time.time)
        report = await check_ledger(desk, CheckAsk(whole=True, hot=hot), lambda *_: None)
    return [
        f"invariant {p.invariant}: {p.broken_row}: {p.broken_how}"
        for p in report.proofs
        if not p.holds
    ]


async def judge(arena: Arena, replaying: Replaying = replay) -> tuple[Books, list[str]]:
    """Make everything quiet, and compare."""
    left = await let_go(arena)
    said = await quieten(arena, replaying)
    books = await read_books(arena, said, left)
    found = [*differences(arena, books), *await ledger_differences(arena)]
    return books, [*found, *await held_differences(arena)]
