"""What one settled batch writes, as columns for ``unnest``: pure, and the same for every ledger
store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import msgspec

from billing.ledger import PLATFORM, LedgerCode, Settlement, Transfer, make_transfer
from billing.reservations import State, Used

EVENT_COLUMNS = 20
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


def event_columns(events: Sequence[SettledRow]) -> tuple[list[object], ...]:
    """Columns of the statement ``insert_usage``."""
    return _columns([_event_values(row) for row in events], EVENT_COLUMNS)


def _event_values(row: SettledRow) -> tuple[object, ...]:
    """A usage event, column by column, without the time of its settlement."""
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
    )


def key_columns(events: Sequence[SettledRow]) -> tuple[list[object], ...]:
    """Columns of the statement ``touch_keys``: each key once, with its last use."""
    used: dict[tuple[str, str], int] = {}
    for row in events:
        s = row.settlement
        key = (s.account_id, s.key_id)
        used[key] = max(used.get(key, 0), s.admitted_us)
    return _columns([(*key, used[key]) for key in sorted(used)], 3)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> tuple[list[object], ...]:
    if not rows:
        return tuple([] for _ in range(width))
    return tuple(map(list, zip(*rows, strict=True)))


def usage_line(values: Sequence[object]) -> bytes:
    """The canonical text of a usage event that the hash chain covers: all its columns, as JSON.

    Texts, integers and nulls in the order of ``insert_usage``, the time of settlement last.
    """
    return _canonical(values)


def event_line(row: SettledRow, now_us: int) -> bytes:
    """:func:`usage_line` of a row that is being settled."""
    return usage_line((*_event_values(row), now_us))


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
    for transfer in transfers:
        debits[_owner(transfer, transfer.debit_code)] += transfer.amount_nanos
        given[_owner(transfer, transfer.credit_code)] += transfer.amount_nanos
    assert sum(debits.values()) == sum(given.values()), "what one side gives the other takes"
    customers: set[tuple[str, LedgerCode]] = {(account, "credits") for account in account_ids}
    touched = customers | debits.keys() | given.keys()
    return [
        BalanceChange(account, code, debits.get((account, code), 0), given.get((account, code), 0))
        for account, code in sorted(touched)
    ]


def _owner(transfer: Transfer, code: LedgerCode) -> tuple[str, LedgerCode]:
    """Credits are the customer's; every other ledger account is the platform's."""
    return (transfer.account_id if code == "credits" else PLATFORM, code)


def daily_rows(events: Sequence[SettledRow]) -> tuple[list[object], ...]:
    """Columns of the statement ``add_daily``: sums by account, UTC day of admission and profile."""
    sums: dict[tuple[str, date, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in events:
        s = row.settlement
        day = datetime.fromtimestamp(s.admitted_us // 1_000_000, UTC).date()
        total = sums[s.account_id, day, s.profile]
        total[0] += 1
        total[1] += s.units
        total[2] += s.price_nanos
        total[3] += s.provider_cost_nanos or 0
    return _columns([(*key, *sums[key]) for key in sorted(sums)], 7)


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
