"""When all copies are void at once."""

from __future__ import annotations

from billing.reservations import Admitted
from tests.unit.billing.office import Office, ask

A = "00000000-0000-0000-0000-0000000000a1"


async def test_another_process_voids_all_copies() -> None:
    """A hot copy that was restarted from an old dump decides nothing: copies are built anew."""
    office = Office()
    office.ledger.open_account(A)
    await office.ledger.topup(A, 10, "first", 1)
    seat = await office.seat("w")
    assert isinstance(await seat.reserver.reserve(*ask(A, 10, 1), "closed"), Admitted)
    before = seat.epoch.number
    office.server.name = "second"
    await seat.epoch.look()
    assert (seat.epoch.number, office.server.expected) == (before + 1, "second")
    assert not isinstance(await seat.reserver.reserve(*ask(A, 1, 2), "closed"), Admitted)


async def test_of_several_workers_one_raises_the_epoch() -> None:
    """Two workers that see the same change agree on one new epoch."""
    office = Office()
    one, two = await office.seat("one"), await office.seat("two")
    office.server.name = "second"
    await one.epoch.look()
    await two.epoch.look()
    assert one.epoch.number == two.epoch.number == 3
    assert office.shared.reasons == ["first Redis", "another Redis"]


async def test_a_ledger_that_went_back_voids_all_copies() -> None:
    """When the hot copy has heard of batches that the ledger does not know, it is void."""
    office = Office()
    office.ledger.open_account(A)
    await office.ledger.topup(A, 10, "first", 1)
    seat = await office.seat("w")
    assert office.server.told == 1
    office.server.told = 7
    before = seat.epoch.number
    await seat.epoch.look()
    assert (seat.epoch.number, office.server.told) == (before + 1, 1)
    assert "knows batch 7" in seat.reports[-1]
