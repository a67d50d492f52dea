"""Requests that were admitted, settled, released and expired, written by the ledger itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from billing.accounts import Account
from billing.ledger import SettledBatch, Settlement
from billing.reservations import Hold
from billing.stores.postgres_ledger import PostgresLedger
from billing.stores.postgres_workers import PostgresWorkers
from tests.contract.desks import START, Office
from tests.contract.ledger_bench import journal_row

CHARGING_ROUTE = "charges"
KEY = "0198c0de-0000-7000-8000-0000000000ff"
START_MS = int(START.timestamp() * 1000)
START_US = START_MS * 1000
LIFETIME_S = 600


class PaidWork:
    """Reservations and settlements over an office's database, by the office's clock."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self.ledger = PostgresLedger(office.pool, 20.0, lambda route: route == CHARGING_ROUTE)
        self._workers = PostgresWorkers(office.pool, KEY, "authz", 20.0)
        self._made = 0

    @property
    def now_us(self) -> int:
        """The office's time in Unix microseconds."""
        return int(self._office.clock.now.timestamp()) * 1_000_000

    def request(self, account: Account, price: int, **changes: Any) -> Settlement:
        """What a request of this moment is settled with; billed unless said otherwise."""
        self._made += 1
        hold = Hold(
            id_at(self.now_us // 1000, self._made),
            account.id,
            100,
            self.now_us // 1_000_000 + LIFETIME_S,
        )
        base = Settlement(
            reservation_id=hold.reservation_id,
            account_id=account.id,
            key_id=KEY,
            profile="llm",
            route="chat",
            meter="tokens",
            model="gpt",
            price_version="v1",
            outcome="answered",
            status="billed",
            billed=True,
            units=3,
            price_nanos=price,
            provider_cost_nanos=price // 2,
            held_nanos=100,
            quoted_nanos=250,
            record=hold.record(),
            formula=f"3 units = {price} nano-USD",
            review="",
            facts='{"units":3}',
            admitted_us=self.now_us,
            completed_us=self.now_us + 1_000_000,
            expires_s=hold.expires_s,
        )
        return replace(base, **changes)

    def unbilled(self, account: Account) -> Settlement:
        """A request that its upstream never answered."""
        return self.request(
            account,
            0,
            outcome="not_answered",
            billed=False,
            units=0,
            provider_cost_nanos=None,
        )

    async def admit(self, *requests: Settlement) -> None:
        """Journal the requests as pending."""
        await self._workers.record([journal_row(request) for request in requests])

    async def settle(self, *requests: Settlement) -> SettledBatch:
        """End the requests, a second after the office's time."""
        return await self.ledger.settle(requests, self.now_us + 1_000_000)

    async def expire(self) -> SettledBatch:
        """Let an hour pass, and end what is overdue then."""
        self._office.clock.forward(timedelta(hours=1))
        return await self.ledger.expire(self.now_us, 1000)


def id_at(unix_ms: int, number: int) -> str:
    """A UUIDv7 of a millisecond; ids of one millisecond are in the order of their numbers."""
    digits = f"{unix_ms:012x}7{number:03x}8" + "0" * 15
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
