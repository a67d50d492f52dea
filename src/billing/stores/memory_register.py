"""The register of reservations in memory: each from its journal entry to its one end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billing.ledger import Settlement
from billing.reservations import TRANSITIONS, Event, JournalRow, State
from billing.stores.settlement_rows import SettledRow

Key = tuple[str, str]
"""Account and reservation."""


@dataclass(slots=True)
class Reservation:
    """One reservation as the ledger knows it."""

    row: JournalRow
    state: State
    expires_s: int
    content_hash: bytes | None = None

    @property
    def key(self) -> Key:
        return (self.row.account_id, self.row.reservation_id)


class Register:
    """Every reservation that was journaled or settled."""

    def __init__(self) -> None:
        self.known: dict[Key, Reservation] = {}

    def record(self, row: JournalRow) -> None:
        """Note a reservation as pending; one that is known stays as it is."""
        self.known.setdefault(
            (row.account_id, row.reservation_id), Reservation(row, "pending", row.expires_s)
        )

    def ending(self, settlement: Settlement) -> SettledRow | None:
        """How a settlement ends its reservation; ``None`` when that has ended before.

        A reservation that the journal has not brought yet is as good as pending.
        """
        known = self.known.get(key_of(settlement))
        event: Event = "billed" if settlement.billed else "not_billed"
        state = TRANSITIONS.get((known.state if known else "pending", event))
        return SettledRow(settlement, state) if state is not None else None

    def end(self, row: SettledRow) -> None:
        """End a reservation as :meth:`ending` said."""
        self.record(journal_row_of(row.settlement))
        reservation = self.known[key_of(row.settlement)]
        reservation.state = row.state
        reservation.content_hash = row.settlement.content_hash()

    def has_same_content(self, settlement: Settlement) -> bool:
        """Whether an ended reservation was ended by the same content."""
        return self.known[key_of(settlement)].content_hash == settlement.content_hash()

    def overdue(self, now_us: int, at_most: int) -> list[Reservation]:
        """Pending reservations whose lifetime is over, the longest overdue first."""
        overdue = [
            reservation
            for reservation in self.known.values()
            if reservation.state == "pending" and reservation.expires_s * 1_000_000 <= now_us
        ]
        return sorted(overdue, key=lambda reservation: reservation.expires_s)[:at_most]

    def extend(self, key: Key, expires_s: int) -> None:
        """Move the end of life of a pending reservation, never back."""
        reservation = self.known.get(key)
        if reservation is not None and reservation.state == "pending":
            reservation.expires_s = max(reservation.expires_s, expires_s)

    def abandon(self, key: Key) -> None:
        """Let a pending reservation end with the next expiry."""
        reservation = self.known.get(key)
        if reservation is not None and reservation.state == "pending":
            reservation.expires_s = 0
            reservation.row = reservation.row._replace(quoted_nanos=0)

    def pending(self, account_id: str) -> Sequence[tuple[str, str]]:
        """Live reservations of an account: id and record."""
        return [
            (reservation_id, reservation.row.record)
            for (owner, reservation_id), reservation in self.known.items()
            if owner == account_id and reservation.state == "pending"
        ]


def key_of(settlement: Settlement) -> Key:
    """The reservation that a settlement ends."""
    return (settlement.account_id, settlement.reservation_id)


def journal_row_of(settlement: Settlement) -> JournalRow:
    """The reservation of a settlement that came before its journal entry."""
    return JournalRow(
        reservation_id=settlement.reservation_id,
        account_id=settlement.account_id,
        key_id=settlement.key_id,
        profile=settlement.profile,
        route=settlement.route,
        price_version=settlement.price_version,
        held_nanos=settlement.held_nanos,
        quoted_nanos=settlement.quoted_nanos,
        record=settlement.record,
        basis="",
        admitted_us=settlement.admitted_us,
        expires_s=settlement.expires_s,
    )
