"""The journal's buffer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from billing.errors import InvalidInput, StoreUnavailable
from billing.journal import Journal, JournalLimits
from billing.reservations import JournalRow
from billing.stores.memory_ledger import MemoryLedgerStore
from billing.stores.memory_workers import MemoryOffice, MemoryWorkers
from tests.unit.billing.office import ask

A = "00000000-0000-0000-0000-0000000000a1"


class Picky(MemoryWorkers):
    """Refuses a batch that holds the amount 13, as Postgres refuses a value out of range."""

    async def record(self, rows: Sequence[JournalRow]) -> None:
        if any(row.held_nanos == 13 for row in rows):
            raise InvalidInput("13 is out of range")
        await super().record(rows)


def _office() -> MemoryOffice:
    ledger = MemoryLedgerStore()
    ledger.open_account(A)
    return MemoryOffice(ledger)


async def test_what_is_not_written_stays() -> None:
    """While the store is away rows wait, in order, and are written when it is back."""
    office = _office()
    journal = Journal(MemoryWorkers(office, "w"), lambda _why, _row: None)
    journal.add(ask(A, 1, 1)[1])
    office.away = True
    with pytest.raises(StoreUnavailable):
        await journal.flush()
    assert journal.depth == 1
    office.away = False
    await journal.flush()
    assert journal.depth == 0
    assert len(office.ledger.register.pending(A)) == 1


async def test_a_row_that_can_never_be_written_is_reported_and_the_others_are_kept() -> None:
    """One bad row does not hold back the rest of its batch."""
    office = _office()
    bad: list[str] = []
    journal = Journal(Picky(office, "w"), lambda _why, row: bad.append(row.reservation_id))
    for number, amount in enumerate([1, 13, 2, 3]):
        journal.add(ask(A, amount, number)[1])
    await journal.flush()
    assert bad == [ask(A, 13, 1)[1].reservation_id]
    assert len(office.ledger.register.pending(A)) == 3


class Counting(MemoryWorkers):
    """Remembers how many rows each statement had."""

    def __init__(self, office: MemoryOffice) -> None:
        super().__init__(office, "w")
        self.sizes: list[int] = []

    async def record(self, rows: Sequence[JournalRow]) -> None:
        self.sizes.append(len(rows))
        await super().record(rows)


@pytest.mark.parametrize(
    ("waiting", "sizes"),
    [(3, [3]), (4, [3, 1]), (12, [3, 3, 3, 3]), (13, [4, 4, 4, 1]), (41, [10, 10, 10, 10, 1])],
)
async def test_a_flush_is_written_in_pieces(waiting: int, sizes: list[int]) -> None:
    """In four, none of them smaller than a piece has to be or larger than a batch may be; nothing
    is left out and nothing written twice."""
    office = _office()
    store = Counting(office)
    limits = JournalLimits(piece_rows=3, batch_rows=10)
    journal = Journal(store, lambda _why, _row: None, limits)
    for number in range(waiting):
        journal.add(ask(A, 1, number)[1])
    await journal.flush()
    assert (store.sizes, journal.depth) == (sizes, 0)
    assert len(office.ledger.register.pending(A)) == waiting


def test_it_says_when_it_is_full() -> None:
    """The bound is a number of rows."""
    journal = Journal(
        MemoryWorkers(_office(), "w"), lambda _why, _row: None, JournalLimits(max_rows=2)
    )
    journal.add(ask(A, 1, 1)[1])
    assert journal.has_room
    journal.add(ask(A, 1, 2)[1])
    assert not journal.has_room
