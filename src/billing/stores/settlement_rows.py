"""What one settled batch writes, as rows or as columns for ``unnest``: pure, and the same for every
ledger store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from billing.ledger import PLATFORM, LedgerCode, Settlement, Transfer, make_transfer
from billing.reservations import State, Used

EVENT_COLUMNS = (
    "account_id",
    "reservation_id",
    "key_id",
    "profile",
    "route",
    "meter",
    "model",
    "price_version",
    "outcome",
    "status",
    "units",
    "price_nanos",
    "provider_cost_nanos",
    "held_nanos",
    "quoted_nanos",
    "review",
    "formula",
    "facts",
    "admitted_us",
    "completed_us",
    "settled_us",
    "batch_id",
)
"""Columns of ``usage_events``: those that the chain covers, in its order, and then the batch."""

DAY_US = 86_400_000_000
EPOCH_DAY = date(1970, 1, 1)
_CREDITS: LedgerCode = "credits"
_canonical = msgspec.json.Encoder().encode


class SettledRow(NamedTuple):
    """A settlement whose reservation ended by it, and the state in which it ended."""

    settlement: Settlement
    state: State

    @property
    def status(self) -> str:
        return "late" if self.state == "late" else self.settlement.status


class BalanceChange(NamedTuple):
    """By how much one ledger account moves; both amounts are zero or above."""

    account_id: str
    code: LedgerCode
    debits: int
    credits: int


def reservation_columns(settlements: Sequence[Settlement]) -> tuple[list[object], ...]:
    """Columns of the statement ``end_reservations``."""
    rows = [
        (
            s.account_id,
            s.reservation_id,
            s.key_id,
            s.profile,
            s.route,
            s.price_version,
            s.held_nanos,
            s.quoted_nanos,
            s.record,
            "settled" if s.billed else "released",
            s.content_hash(),
            s.admitted_us,
            s.expires_s,
        )
        for s in settlements
    ]
    return _columns(rows, 13)


def end_columns(settlements: Sequence[Settlement]) -> tuple[list[object], ...]:
    """Columns of the statement ``end_journaled``."""
    return (
        [s.account_id for s in settlements],
        [s.reservation_id for s in settlements],
        [s.billed for s in settlements],
        [s.content_hash() for s in settlements],
    )


def event_values(row: SettledRow, now_us: int) -> tuple[object, ...]:
    """A usage event, column by column (``EVENT_COLUMNS``), without its batch."""
    s = row.settlement
    return (
        s.account_id,
        s.reservation_id,
        s.key_id,
        s.profile,
        s.route,
        s.meter,
        s.model,
        s.price_version,
        s.outcome,
        row.status,
        s.units,
        s.price_nanos,
        s.provider_cost_nanos,
        s.held_nanos,
        s.quoted_nanos,
        s.review,
        s.formula,
        s.facts,
        s.admitted_us,
        s.completed_us,
        now_us,
    )


def key_columns(events: Sequence[SettledRow]) -> tuple[list[object], ...]:
    """Columns of the statement ``touch_keys``: each key once, with its last use."""
    used: dict[tuple[str, str], int] = {}
    for row in events:
        s = row.settlement
        key = (s.account_id, s.key_id)
        if used.get(key, -1) < s.admitted_us:
            used[key] = s.admitted_us
    return _columns([(*key, used[key]) for key in sorted(used)], 3)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> tuple[list[object], ...]:
    if not rows:
        return tuple([] for _ in range(width))
    return tuple(map(list, zip(*rows, strict=True)))


def usage_line(values: Sequence[object]) -> bytes:
    """The canonical text of a usage event that the hash chain covers: all its columns, as JSON.

    Texts, integers and nulls in the order of :func:`event_values`.
    """
    return _canonical(values)


def event_line(row: SettledRow, now_us: int) -> bytes:
    """:func:`usage_line` of a row that is being settled."""
    return usage_line(event_values(row, now_us))


def make_transfers(
    rows: Sequence[SettledRow], expiry_charges: Mapping[str, int], now_us: int
) -> list[Transfer]:
    """The transfers of a batch: price, provider's cost, and expiry charges given back to late
    ones."""
    transfers = []
    for row in rows:
        s = row.settlement
        if s.price_nanos:
            transfers.append(
                make_transfer(s.account_id, s.reservation_id, "charge", s.price_nanos, now_us)
            )
        if s.billed and s.provider_cost_nanos:
            transfers.append(
                make_transfer(s.account_id, s.reservation_id, "cost", s.provider_cost_nanos, now_us)
            )
        given_back = expiry_charges.get(s.reservation_id)
        if given_back:
            transfers.append(
                make_transfer(s.account_id, s.reservation_id, "refund", given_back, now_us)
            )
    return transfers


def balance_changes(
    account_ids: Collection[str], transfers: Iterable[Transfer]
) -> list[BalanceChange]:
    """How far each ledger account moves; every account named is touched, even by nothing."""
    debits: dict[tuple[str, LedgerCode], int] = defaultdict(int)
    given: dict[tuple[str, LedgerCode], int] = defaultdict(int)
    for account_id, _, _, debit_code, credit_code, amount_nanos, _ in transfers:
        # Credits are the customer's; every other ledger account is the platform's.
        debits[account_id if debit_code == "credits" else PLATFORM, debit_code] += amount_nanos
        given[account_id if credit_code == "credits" else PLATFORM, credit_code] += amount_nanos
    assert sum(debits.values()) == sum(given.values()), "what one side gives the other takes"
    touched = {(account, _CREDITS) for account in account_ids} | debits.keys() | given.keys()
    return [
        BalanceChange(account, code, debits.get((account, code), 0), given.get((account, code), 0))
        for account, code in sorted(touched)
    ]


def daily_rows(events: Sequence[SettledRow]) -> tuple[list[object], ...]:
    """Columns of the statement ``add_daily``: sums by account, UTC day of admission and profile."""
    sums: dict[tuple[str, int, str], list[int]] = {}
    for s, _ in events:
        key = (s.account_id, s.admitted_us // DAY_US, s.profile)
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0, 0, 0, 0]
        total[0] += 1
        total[1] += s.units
        total[2] += s.price_nanos
        total[3] += s.provider_cost_nanos or 0
    rows = [
        (account_id, EPOCH_DAY + timedelta(days=day), profile, *sums[account_id, day, profile])
        for account_id, day, profile in sorted(sums)
    ]
    return _columns(rows, 7)


def period_rows(
    events: Sequence[SettledRow], periods: Mapping[tuple[str, str], tuple[int, int]]
) -> tuple[list[object], ...]:
    """Columns of the statement ``add_period``: sums by account and profile.

    ``periods`` has the start and the end of each that runs (Unix microseconds); what was admitted
    in another period is past.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    for s, _ in events:
        key = (s.account_id, s.profile)
        bounds = periods.get(key)
        if bounds is not None and bounds[0] <= s.admitted_us < bounds[1]:
            total = sums.setdefault(key, [0, 0])
            total[0] += s.units
            total[1] += s.price_nanos
    return _columns([(*key, *periods[key], *sums[key]) for key in sorted(sums)], 6)


def period_budgets(profile: str, start_s: int, units: int, spent_nanos: int) -> tuple[Used, Used]:
    """What a subscription has used of its period, as budgets of the hot copy."""
    return (
        Used(f"units:{profile}", start_s, units),
        Used(f"period:{profile}", start_s, spent_nanos),
    )


def conflict_text(settlement: Settlement) -> str:
    """What quarantine keeps of an entry that came again with another content."""
    s = settlement
    return (
        f"outcome={s.outcome} units={s.units} price_nanos={s.price_nanos} "
        f"provider_cost_nanos={s.provider_cost_nanos} facts={s.facts}"
    )
