"""The books in memory: balances, the chain of batches, and what was used by day and period.

Everything is checked before anything is written, so a batch that cannot be posted changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from billing.errors import InvalidInput
from billing.ledger import GENESIS, PLATFORM, LedgerCode, Transfer, chain_hash
from billing.money import MAX_NANOS
from billing.plans import Period, next_period_start
from billing.reservations import Used
from billing.stores.settlement_rows import SettledRow, balance_changes, period_budgets
from billing.subscriptions import Subscription

BatchKind = Literal["settlement", "expiry", "topup", "correction"]
PLATFORM_CODES: tuple[LedgerCode, ...] = ("cash", "revenue", "cost", "payable")
DAY_S = 86_400


@dataclass(slots=True)
class Balance:
    """One ledger account: all that it was ever debited and credited."""

    debits: int = 0
    credits: int = 0
    version: int = 0

    @property
    def posted_nanos(self) -> int:
        return self.credits - self.debits


class Batch(NamedTuple):
    """One link of the hash chain, with the lines that it covers."""

    batch_id: int
    kind: BatchKind
    previous_hash: bytes
    hash: bytes
    lines: tuple[bytes, ...]


@dataclass(slots=True)
class Daily:
    """What one account used of one profile on one UTC day."""

    requests: int = 0
    units: int = 0
    price_nanos: int = 0
    provider_cost_nanos: int = 0


@dataclass(slots=True)
class Subscribed:
    """A subscription with what is used of its period; ``billing_day`` ends its months."""

    subscription: Subscription
    period: Period
    billing_day: int
    units_used: int = 0
    spent_nanos: int = 0

    def roll(self, now_s: int) -> None:
        """Move on to the period that holds ``now_s``; a new period has used nothing."""
        while self.subscription.period_end_s <= now_s:
            end = datetime.fromtimestamp(self.subscription.period_end_s, UTC)
            following = next_period_start(end, self.period, self.billing_day)
            self.subscription = replace(
                self.subscription,
                period_start_s=self.subscription.period_end_s,
                period_end_s=int(following.timestamp()),
            )
            self.units_used = self.spent_nanos = 0

    def add(self, row: SettledRow) -> None:
        """Count what was admitted in this period; what was admitted before it is past."""
        admitted_s = row.settlement.admitted_us // 1_000_000
        subscription = self.subscription
        if subscription.period_start_s <= admitted_s < subscription.period_end_s:
            self.units_used += row.settlement.units
            self.spent_nanos += row.settlement.price_nanos

    def budgets(self) -> tuple[Used, Used]:
        return period_budgets(
            self.subscription.profile,
            self.subscription.period_start_s,
            self.units_used,
            self.spent_nanos,
        )


class Books:
    """Balances, transfers, batches and usage of every account."""

    def __init__(self) -> None:
        self.overdrafts: dict[str, int] = {}
        self.balances = {(PLATFORM, code): Balance() for code in PLATFORM_CODES}
        self.transfers: list[Transfer] = []
        self.batches: list[Batch] = []
        self.daily: defaultdict[tuple[str, int, str], Daily] = defaultdict(Daily)
        self.subscribed: dict[tuple[str, str], Subscribed] = {}

    def open(self, account_id: str, overdraft_nanos: int) -> None:
        """Make an account that nobody has paid anything into."""
        self.overdrafts[account_id] = overdraft_nanos
        self.balances[account_id, "credits"] = Balance()

    def credits(self, account_id: str) -> Balance:
        return self.balances[account_id, "credits"]

    def check(self, account_ids: Collection[str], transfers: Sequence[Transfer]) -> None:
        """Raise ``InvalidInput`` where :meth:`append` could not post the same."""
        for change in balance_changes(account_ids, transfers):
            balance = self.balances.get((change.account_id, change.code))
            if balance is None:
                raise InvalidInput(f"no ledger account {change.code} of {change.account_id}")
            most = max(balance.debits + change.debits, balance.credits + change.credits)
            if most > MAX_NANOS:
                raise InvalidInput(f"{change.code} of {change.account_id} would exceed its range")

    def append(
        self,
        kind: BatchKind,
        account_ids: Collection[str],
        transfers: Sequence[Transfer],
        event_lines: Sequence[bytes] = (),
    ) -> int:
        """Post transfers as the next batch, raise the version of each account, return its id."""
        self.check(account_ids, transfers)
        lines = (*(transfer.line() for transfer in transfers), *event_lines)
        previous = self.batches[-1].hash if self.batches else GENESIS
        batch_id = len(self.batches) + 1
        self.batches.append(Batch(batch_id, kind, previous, chain_hash(previous, lines), lines))
        self.transfers.extend(transfers)
        for change in balance_changes(account_ids, transfers):
            balance = self.balances[change.account_id, change.code]
            balance.debits += change.debits
            balance.credits += change.credits
            balance.version += 1
        return batch_id

    def count(self, events: Sequence[SettledRow], now_s: int) -> None:
        """Add events to the day and the period in which they were admitted."""
        for row in events:
            self._add_daily(row)
            subscribed = self.subscribed.get((row.settlement.account_id, row.settlement.profile))
            if subscribed is not None:
                subscribed.roll(now_s)
                subscribed.add(row)

    def used(self, account_id: str, now_s: float) -> tuple[Used, ...]:
        """What is used of each running period, and of the UTC day of now."""
        today_s = int(now_s) // DAY_S * DAY_S
        periods = (
            budget
            for (owner, _), subscribed in self.subscribed.items()
            if owner == account_id and subscribed.subscription.period_end_s > now_s
            for budget in subscribed.budgets()
        )
        days = (
            Used(f"day:{profile}", today_s, daily.price_nanos)
            for (owner, day_s, profile), daily in self.daily.items()
            if (owner, day_s) == (account_id, today_s)
        )
        return (*periods, *days)

    def _add_daily(self, row: SettledRow) -> None:
        settled = row.settlement
        day_s = settled.admitted_us // 1_000_000 // DAY_S * DAY_S
        daily = self.daily[settled.account_id, day_s, settled.profile]
        daily.requests += 1
        daily.units += settled.units
        daily.price_nanos += settled.price_nanos
        daily.provider_cost_nanos += settled.provider_cost_nanos or 0
