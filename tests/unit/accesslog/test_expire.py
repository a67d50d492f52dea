"""Reservations whose entry never came, and those whose entry may still lie in the spool."""

import asyncio

import pytest

from accesslog.expire import Expirer
from accesslog.settings import ExpireSettings
from tests.unit.accesslog.door import ANNA, FUNDS_NANOS, NOW_US, Door, Ledger, open_door


def expirer(door: Door, oldest_us: int | None = None, batch_entries: int = 100) -> Expirer:
    return Expirer(
        door.ledger,
        door.desk.publisher,
        settings=ExpireSettings(batch_entries=batch_entries),
        oldest_us=lambda: oldest_us,
        now_us=door.clock.now_us,
        metrics=door.desk.around.metrics,
        notices=door.desk.notices,
    )


async def test_what_is_overdue_ends_and_the_hot_copy_hears_of_it() -> None:
    """After its lifetime a reservation is expired, its hold gone, and nothing is charged."""
    door = await open_door()
    tickets = [await door.admit() for _ in range(5)]
    await door.copy(ANNA)
    assert await expirer(door).expire() == 0
    door.clock.forward(600)
    assert await expirer(door, batch_entries=2).expire() == 5
    assert {door.state(ticket) for ticket in tickets} == {"expired"}
    assert await door.held() == []
    assert door.posted_nanos() == FUNDS_NANOS
    assert door.count("expired_total") == door.count("ended_total", state="expired") == 5


async def test_a_route_may_charge_what_never_came() -> None:
    """Where the route's policy charges on expiry, the charge is posted and counted."""
    door = await open_door(ledger=Ledger(lambda _route: True))
    await door.admit()
    door.clock.forward(600)
    await expirer(door).expire()
    assert FUNDS_NANOS - door.posted_nanos() == door.count("charged_nano_usd_total") > 0


@pytest.mark.parametrize(
    ("oldest_s", "horizon_s"),
    [(None, 1_000), (1_000, 1_000), (700, 700), (500, 500), (399, 400), (0, 400), (1_001, 1_000)],
)
async def test_entries_in_the_spool_hold_expiry_off(oldest_s: int | None, horizon_s: int) -> None:
    """What ended since the oldest spooled entry came in waits for it, for ten minutes at most."""
    door = await open_door()
    door.clock.forward(1_000)
    oldest_us = None if oldest_s is None else NOW_US + oldest_s * 1_000_000
    assert expirer(door, oldest_us).horizon_us() == NOW_US + horizon_s * 1_000_000


async def test_the_loop_goes_on_after_a_fault() -> None:
    """A ledger that is away is asked again after the interval; another fault ends the loop."""
    door = await open_door()
    ticket = await door.admit()
    door.clock.forward(600)
    door.ledger.away = True
    slept_s: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)
        door.ledger.away = False
        if len(slept_s) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await expirer(door).run(sleep)
    assert slept_s == [5.0, 5.0, 5.0]
    assert door.state(ticket) == "expired"
    assert door.count("retries_total", fault="other") == 1
