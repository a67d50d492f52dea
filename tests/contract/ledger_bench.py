"""Ledgers on a bench: how tests fill them, and what they look at behind the port."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from billing.ledger import LedgerCode, Settlement, Transfer
from billing.money import NANOS_PER_USD
from billing.plans import Period
from billing.reservations import Budget, Hold, JournalRow, Publication, State, Truth, Used
from billing.stores.memory import MemoryLedgerStore
from billing.stores.memory_register import journal_row_of
from billing.stores.protocol import LedgerStore, TruthStore
from billing.subscriptions import Subscription

NOW_S = 1_760_000_000
"""2025-10-09T08:53:20Z."""
TODAY_S = NOW_S // 86_400 * 86_400
NOW_US = NOW_S * 1_000_000
EXPIRES_S = NOW_S + 600
AFTER_US = (EXPIRES_S + 1) * 1_000_000
"""When every reservation of the bench has expired."""
CHARGING_ROUTE = "charges"
"""The route whose overdue reservations are charged their quote."""
KEY = "0198c0de-0000-7000-8000-0000000000ff"
A, B = "0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"
PAID = 25 * NANOS_PER_USD


class Event(NamedTuple):
    """A usage event, as far as money and people depend on it."""

    reservation_id: str
    outcome: str
    status: str
    units: int
    price_nanos: int
    provider_cost_nanos: int | None


class Link(NamedTuple):
    """A link of the hash chain and the lines that it has to cover."""

    batch_id: int
    previous_hash: bytes
    hash: bytes
    lines: tuple[bytes, ...]


class JournalStore(Protocol):
    """The journal's side of a worker store."""

    async def record(self, rows: Sequence[JournalRow]) -> None:
        """Write reservations as pending."""


class LedgerBench(Protocol):
    """A ledger, its truth and its journal, with a view of what they wrote."""

    @property
    def store(self) -> LedgerStore:
        """What settles."""

    @property
    def truth(self) -> TruthStore:
        """What says how things stand."""

    @property
    def journal(self) -> JournalStore:
        """What takes admitted reservations."""

    async def open_account(self, account_id: str, overdraft_nanos: int = 0) -> None:
        """Make an account."""

    async def subscribe(
        self, account_id: str, subscription: Subscription, period: Period, billing_day: int
    ) -> None:
        """Subscribe an account."""

    async def topup(self, account_id: str, amount_nanos: int, reference: str) -> bool:
        """Pay in; False when the reference was known."""

    async def states(self) -> dict[str, State]:
        """The state of every reservation."""

    async def transfers(self) -> list[Transfer]:
        """Every transfer, sorted."""

    async def events(self) -> list[Event]:
        """Every usage event, sorted."""

    async def daily(self) -> dict[tuple[str, int, str], tuple[int, int, int, int]]:
        """By account, day (Unix seconds) and profile: requests, units, price, provider's cost."""

    async def balances(self) -> dict[tuple[str, LedgerCode], tuple[int, int]]:
        """Debits and credits of every ledger account."""

    async def quarantined(self) -> list[tuple[str | None, str]]:
        """Reservation and reason of every entry that was put aside, sorted."""

    async def chain(self) -> list[Link]:
        """The hash chain from its first link."""


class MemoryLedgerBench:
    """The ledger in memory is store, truth and journal in one."""

    def __init__(self) -> None:
        ledger = MemoryLedgerStore(lambda route: route == CHARGING_ROUTE)
        self.store = self.truth = self.journal = self._ledger = ledger

    async def open_account(self, account_id: str, overdraft_nanos: int = 0) -> None:
        self._ledger.open_account(account_id, overdraft_nanos)

    async def subscribe(
        self, account_id: str, subscription: Subscription, period: Period, billing_day: int
    ) -> None:
        self._ledger.subscribe(account_id, subscription, period, billing_day)

    async def topup(self, account_id: str, amount_nanos: int, reference: str) -> bool:
        return await self._ledger.topup(account_id, amount_nanos, reference, NOW_US)

    async def states(self) -> dict[str, State]:
        known = self._ledger.register.known.values()
        return {reservation.row.reservation_id: reservation.state for reservation in known}

    async def transfers(self) -> list[Transfer]:
        return sorted(self._ledger.books.transfers)

    async def events(self) -> list[Event]:
        return sorted(
            Event(s.reservation_id, s.outcome, row.status, s.units, s.price_nanos, cost)
            for row in self._ledger.events.values()
            for s, cost in [(row.settlement, row.settlement.provider_cost_nanos)]
        )

    async def daily(self) -> dict[tuple[str, int, str], tuple[int, int, int, int]]:
        return {
            key: (day.requests, day.units, day.price_nanos, day.provider_cost_nanos)
            for key, day in self._ledger.books.daily.items()
        }

    async def balances(self) -> dict[tuple[str, LedgerCode], tuple[int, int]]:
        balances = self._ledger.books.balances
        return {key: (balance.debits, balance.credits) for key, balance in balances.items()}

    async def quarantined(self) -> list[tuple[str | None, str]]:
        rows = self._ledger.quarantined.values()
        return sorted(((row.reservation_id, row.reason) for row in rows), key=str)

    async def chain(self) -> list[Link]:
        return [
            Link(batch.batch_id, batch.previous_hash, batch.hash, batch.lines)
            for batch in self._ledger.books.batches
        ]


def reservation_id(number: int) -> str:
    """Ids in the order of their numbers."""
    return f"0198c0de-0000-7000-8000-0001{number:08x}"


def settlement(number: int, price: int = 0, **changes: object) -> Settlement:
    """One priced entry; billed unless said otherwise."""
    hold = Hold(reservation_id(number), A, 100, EXPIRES_S, (Budget("units:llm", 0, 99, 5),))
    base = Settlement(
        reservation_id=hold.reservation_id,
        account_id=A,
        key_id=KEY,
        profile="llm",
        route="chat",
        meter="tokens",
        model="m",
        price_version="v1",
        outcome="answered",
        status="billed",
        billed=True,
        units=3,
        price_nanos=price,
        provider_cost_nanos=None,
        held_nanos=100,
        quoted_nanos=250,
        record=hold.record(),
        formula="3 units",
        review="",
        facts='{"usage":3}',
        admitted_us=NOW_US - 2_000_000,
        completed_us=NOW_US - 1_000_000,
        expires_s=EXPIRES_S,
    )
    return replace(base, **changes)


def released(number: int, **changes: object) -> Settlement:
    """An entry that is not billed."""
    unbilled = {"outcome": "not_answered", "billed": False, "units": 0}
    return settlement(number, 0, **(unbilled | changes))


def journal_row(settled: Settlement) -> JournalRow:
    """The journal's row of the reservation that a settlement ends."""
    return journal_row_of(settled)._replace(basis="{}")


async def snapshot(bench: LedgerBench, now_s: float = NOW_S) -> dict[str, object]:
    """Everything that a ledger says, to see that something changed nothing."""
    truths = await bench.truth.truth([A, B], now_s)
    return {
        "truth": {key: (t.posted_nanos, t.version, sorted(t.used)) for key, t in truths.items()},
        "pending": {key: sorted(t.pending) for key, t in truths.items()},
        "states": await bench.states(),
        "transfers": await bench.transfers(),
        "events": await bench.events(),
        "daily": await bench.daily(),
        "balances": await bench.balances(),
    }


async def posted(ledger: LedgerBench, account: str = A) -> int:
    """The balance of an account."""
    return (await ledger.truth.truth([account], NOW_S))[account].posted_nanos


async def version(ledger: LedgerBench, account: str = A) -> int:
    """The version of an account's balance."""
    return (await ledger.truth.truth([account], NOW_S))[account].version


async def money_of(ledger: LedgerBench, number: int) -> list[tuple[str, int]]:
    """Kind and amount of every transfer that a reservation caused, sorted."""
    ident = reservation_id(number)
    return sorted(
        (t.kind, t.amount_nanos) for t in await ledger.transfers() if t.source_id == ident
    )


def used_of(one: Truth | Publication) -> dict[str, tuple[int, int]]:
    """What is used: budget to window and amount; nothing used is the same as nothing said."""
    return {used.name: (used.window_s, used.used) for used in map(Used._make, one.used) if used[2]}
