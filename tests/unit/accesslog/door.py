"""A back door over stores in memory: what is for sale, who was admitted, what Envoy says of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from accesslog.assembly import Desk, Surroundings
from accesslog.metrics import PREFIX, AccessLogMetrics
from accesslog.settings import AccessLogSettings
from accesslog.values import Entry
from billing.catalog import Catalog, Meter, MissingUsagePolicy, PriceBook, PriceVersion, Route
from billing.ledger import SettledBatch, Settlement
from billing.meters.compute_units import ComputeUnitTariff
from billing.meters.flat import FlatTariff
from billing.meters.reported import ReportedTariff
from billing.meters.tokens import ModelPrice, TokenRates, TokenTariff
from billing.meters.values import Tariff
from billing.reservations import Hold, JournalRow, Truth
from billing.shares import FLIGHT, UNITS, UsualShares
from billing.stores.memory import MemoryHotStore, MemoryLedgerStore
from billing.stores.protocol import Absent
from billing.ticket import Ticket, TicketSeal

NOW_S = 1_800_000_000
NOW_US = NOW_S * 1_000_000
LIFETIME_S = 600
EPOCH = 1
FUNDS_NANOS = 10**12
SECRET = b"the secret of this installation"
ANNA = str(UUID(int=0xA))
BOB = str(UUID(int=0xB))
KEY_ID = str(UUID(int=0xC))
CHAT_BASIS = {"model": "small", "input": 100, "max_output": 500, "n": 1}

TARIFFS: dict[str, Tariff] = {
    "words": TokenTariff(
        models={
            "small": ModelPrice(
                max_output_tokens=4096,
                own=TokenRates(input_nanos_per_mtok=10**9, output_nanos_per_mtok=4 * 10**9),
                provider=TokenRates(input_nanos_per_mtok=5 * 10**8, output_nanos_per_mtok=10**9),
            )
        }
    ),
    "calls": ComputeUnitTariff(methods={"eth_call": 1500}, nanos_per_cu=1_000),
    "ping": FlatTariff(nanos_per_request=1_000_000),
    "named": ReportedTariff(typical_nanos=10**6, max_nanos=10**9, markup_ppm=2_000_000),
}


def route(
    name: str, meter: Meter, tariff: str, missing_usage: MissingUsagePolicy = "review"
) -> Route:
    return Route(name, "upstream", "llm", meter, tariff, missing_usage=missing_usage)


CATALOG = Catalog(
    routes={
        found.name: found
        for found in (
            route("chat", "tokens", "words"),
            route("chat-charged", "tokens", "words", "charge_quote"),
            route("ethereum", "compute_units", "calls"),
            route("ping", "flat", "ping"),
            route("reported", "reported", "named"),
            route("astray", "flat", "no such tariff"),
        )
    },
    plans={},
    prices=PriceBook([PriceVersion("v1", 0, TARIFFS, "digest")]),
)


@dataclass
class Clock:
    """Unix time in microseconds that a test moves; the steady clock moves with it."""

    us: int = NOW_US

    def now_us(self) -> int:
        return self.us

    def now_s(self) -> float:
        return self.us / 1_000_000

    def forward(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


class Ledger(MemoryLedgerStore):
    """A ledger whose next calls can be told to go wrong.

    ``faults`` are raised by the next calls of ``settle`` in turn, ``None`` standing for a call that
    works; ``after`` by calls that have already written. ``refuses`` says what is never written.
    """

    def __init__(self, charges_on_expiry: Callable[[str], bool] = lambda _route: False) -> None:
        super().__init__(charges_on_expiry)
        self.faults: list[Exception | None] = []
        self.after: list[Exception | None] = []
        self.refuses: Callable[[Settlement], Exception | None] = lambda _settlement: None
        self.batches: list[int] = []

    async def settle(self, settlements: Sequence[Settlement], now_us: int) -> SettledBatch:
        await asyncio.sleep(0)  # others may come in between, as on the way to a server
        self.batches.append(len(settlements))
        _raise_next(self.faults)
        for settlement in settlements:
            if fault := self.refuses(settlement):
                raise fault
        batch = await super().settle(settlements, now_us)
        _raise_next(self.after)
        return batch


def _raise_next(faults: list[Exception | None]) -> None:
    fault = faults.pop(0) if faults else None
    if fault is not None:
        raise fault


@dataclass
class Door:
    """Everything of one back door, and a front door that admits."""

    ledger: Ledger
    hot: MemoryHotStore
    clock: Clock
    seal: TicketSeal
    desk: Desk
    registry: CollectorRegistry
    told: list[str]
    slept_s: list[float]
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def admit(self, account_id: str = ANNA, **changes: Any) -> Ticket:
        """Hold credits for one request, as the front door does; ``changes`` go to the ticket."""
        ticket = make_ticket(next(self.numbers), self.clock.us, account_id=account_id, **changes)
        row = JournalRow(
            ticket.reservation_id,
            ticket.account_id,
            ticket.key_id,
            ticket.profile,
            ticket.route,
            ticket.price_version,
            ticket.held_nanos,
            ticket.quoted_nanos,
            ticket.record(),
            "",
            ticket.admitted_us,
            ticket.expires_s,
        )
        await self.ledger.record([row])
        return ticket

    def entry(self, ticket: Ticket, **changes: Any) -> Entry:
        """What Envoy writes about an answered request with this ticket."""
        return make_entry(self.seal.sign(ticket), started_us=ticket.admitted_us, **changes)

    async def settle(self, *entries: Entry) -> Any:
        """Judge and settle entries as one batch."""
        return await self.desk.settler.settle(self.desk.judge.judge(entries))

    async def copy(self, *account_ids: str) -> None:
        """Build the hot copy of accounts from the ledger, as the first request does."""
        truths = await self.ledger.truth(account_ids, self.clock.now_s())
        for truth in truths.values():
            await self._copy(truth)

    async def held(self, account_id: str = ANNA) -> list[str]:
        """The live reservations of an account in the hot copy."""
        found = (await self.hot.read([account_id]))[account_id]
        return [reservation_id for reservation_id, _ in found.pending]

    def count(self, name: str, **labels: str) -> float:
        """The value of one of our metrics; 0 while nothing was counted."""
        return self.registry.get_sample_value(f"{PREFIX}{name}", labels) or 0.0

    def state(self, ticket: Ticket) -> str:
        """In which state the ledger has the reservation."""
        return self.ledger.register.known[ticket.account_id, ticket.reservation_id].state

    def posted_nanos(self, account_id: str = ANNA) -> int:
        return self.ledger.books.credits(account_id).posted_nanos

    async def _copy(self, truth: Truth) -> None:
        probe = Hold(str(UUID(int=0)), truth.account_id, 0, 0)
        (absent,) = await self.hot.admit(EPOCH, [probe])
        assert isinstance(absent, Absent)
        await self.hot.load(EPOCH, [(absent.token, truth)])


async def open_door(
    settings: AccessLogSettings | None = None,
    *,
    catalog: Callable[[], Catalog] = lambda: CATALOG,
    ledger: Ledger | None = None,
    seal: TicketSeal | None = None,
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Door:
    """A back door with two accounts that have paid; ``sleep`` returns at once unless given."""
    ledger, clock, registry = ledger or Ledger(), Clock(), CollectorRegistry()
    for account_id in (ANNA, BOB):
        if account_id not in ledger.books.overdrafts:
            ledger.open_account(account_id)
            await ledger.topup(account_id, FUNDS_NANOS, "first", clock.us)
    tokens = itertools.count()
    hot = MemoryHotStore(clock.now_s, lambda: str(next(tokens)))
    seal = seal or TicketSeal([SECRET])
    told: list[str] = []
    slept_s: list[float] = []

    async def pass_time(seconds: float) -> None:
        slept_s.append(seconds)
        clock.forward(seconds)
        await asyncio.sleep(0)

    around = Surroundings(
        ledger=ledger,
        truth=ledger,
        hot=hot,
        seal=seal,
        catalog=catalog,
        now_us=clock.now_us,
        now_s=clock.now_s,
        chance=lambda: 1.0,
        report=told.append,
        metrics=AccessLogMetrics(registry),
        sleep=sleep or pass_time,
    )
    desk = Desk(around, settings or AccessLogSettings())
    return Door(ledger, hot, clock, seal, desk, registry, told, slept_s)


def make_ticket(number: int, admitted_us: int = NOW_US, **changes: Any) -> Ticket:
    """A ticket of the route ``chat``; ``changes`` are fields of it."""
    fields: dict[str, Any] = {
        "reservation_id": str(UUID(int=(1 << 100) + number)),
        "account_id": ANNA,
        "key_id": KEY_ID,
        "route": "chat",
        "profile": "llm",
        "price_version": "v1",
        "held_nanos": 3_000_000,
        "quoted_nanos": 4_000_000,
        "admitted_us": admitted_us,
        "expires_s": admitted_us // 1_000_000 + LIFETIME_S,
        "shares": UsualShares(UNITS | FLIGHT, 1_798_761_600, 700),
        "basis": CHAT_BASIS,
    }
    return Ticket(**(fields | changes))


def make_entry(ticket: str, **changes: Any) -> Entry:
    """An answered chat of 100 tokens in and 50 out: 300 000 nano-USD; ``changes`` are fields."""
    fields: dict[str, Any] = {
        "ticket": ticket,
        "usage": {"input_tokens": 100, "output_tokens": 50, "model": "small-2026"},
        "code": 200,
        "flags": 0,
        "attempts": 1,
        "ongoing": False,
        "request_bytes": 400,
        "response_bytes": 900,
        "duration_ms": 120,
        "started_us": NOW_US,
        "request_id": "chosen by the client",
        "details": "via_upstream",
    }
    return Entry(**(fields | changes))


CHAT_NANOS = 300_000
