"""From the spool to the ledger: batches, order of letting go, drain, restart."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from accesslog.assembly import open_spool
from accesslog.pump import Pump
from accesslog.records import decode, encode_entries, encode_raw
from accesslog.settings import AccessLogSettings, SettleSettings, SpoolSettings
from accesslog.spool import Spool
from accesslog.values import Entry
from billing.errors import StoreUnavailable
from tests.unit.accesslog.door import CHAT_NANOS, FUNDS_NANOS, Door, Ledger, open_door

SETTINGS = AccessLogSettings(
    settle=SettleSettings(batch_entries=10, batch_wait_s=0.0),
    spool=SpoolSettings(1 << 20, 1 << 16, 1 << 14),
)


def pump(door: Door, spool: Spool) -> Pump:
    desk = door.desk
    return Pump(spool, desk.judge, desk.settler, desk.settings.settle, door.clock.now_s)


async def spooled(door: Door, spool: Spool, count: int) -> None:
    for _ in range(count):
        spool.append(encode_entries([door.entry(await door.admit())]))


async def test_all_that_is_spooled_is_settled_in_batches(tmp_path: Path) -> None:
    """Records become batches of the size that is set, and the spool is empty after a drain."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    await spooled(door, spool, 35)
    running = pump(door, spool)
    running.drain()
    await running.run()
    assert door.posted_nanos() == FUNDS_NANOS - 35 * CHAT_NANOS
    assert spool.records == 0
    assert sum(door.ledger.batches) == 35
    assert max(door.ledger.batches) <= 35
    assert door.count("spool_records") == 0
    spool.close()


async def test_what_comes_while_it_runs_is_settled(tmp_path: Path) -> None:
    """A pump that waits is woken by an append, and ends when it is drained."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    running = pump(door, spool)
    task = asyncio.create_task(running.run())
    for _ in range(3):
        await asyncio.sleep(0)
        await spooled(door, spool, 2)
    while spool.records:
        await asyncio.sleep(0)
    assert not task.done()
    running.drain()
    await task
    assert door.posted_nanos() == FUNDS_NANOS - 6 * CHAT_NANOS
    spool.close()


async def test_nothing_leaves_the_spool_before_its_commit(tmp_path: Path) -> None:
    """While the ledger is away records stay; a process that dies then starts with them again."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    await spooled(door, spool, 25)
    door.ledger.faults = [StoreUnavailable("away")] * 1_000_000
    task = asyncio.create_task(pump(door, spool).run())
    for _ in range(100):
        await asyncio.sleep(0)
    assert spool.records == 25
    task.cancel()
    await asyncio.wait([task])
    spool.close()

    after = await open_door(SETTINGS, ledger=Ledger())
    again = open_spool(tmp_path, after.desk)
    assert again.records == 25
    running = pump(after, again)
    running.drain()
    await running.run()
    assert after.posted_nanos() == FUNDS_NANOS - 25 * CHAT_NANOS
    again.close()


async def test_a_crash_between_commit_and_acknowledgement_charges_once(tmp_path: Path) -> None:
    """Records that were settled and not let go come again to the same ledger, as duplicates."""
    ledger = Ledger()
    door = await open_door(SETTINGS, ledger=ledger)
    spool = open_spool(tmp_path, door.desk)
    await spooled(door, spool, 8)
    for record in spool.take(1 << 20):
        await door.settle(*_entries(record.payload))
    spool.close()
    again = open_spool(tmp_path, (await open_door(SETTINGS, ledger=ledger)).desk)
    running = pump(door, again)
    running.drain()
    await running.run()
    assert door.posted_nanos() == FUNDS_NANOS - 8 * CHAT_NANOS
    assert door.count("duplicates_total") == 8
    assert again.records == 0
    again.close()


async def test_records_that_cannot_be_read_go_to_quarantine(tmp_path: Path) -> None:
    """An unparsed message and a record of an unknown form are kept; the entries beside settle."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    spool.append(encode_raw(b"no protobuf"))
    spool.append(b"\x63 of a version to come")
    await spooled(door, spool, 1)
    running = pump(door, spool)
    running.drain()
    await running.run()
    reasons = {row.reason for row in door.ledger.quarantined.values()}
    assert reasons == {"unreadable_message", "unreadable_record"}
    assert door.posted_nanos() == FUNDS_NANOS - CHAT_NANOS
    assert spool.records == 0
    spool.close()


async def test_a_fault_of_the_settler_ends_the_pump(tmp_path: Path) -> None:
    """Its owner hears of it even while no further record comes, and the records stay."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    await spooled(door, spool, 1)

    async def broken(lives: Sequence[tuple[str, str, int]]) -> None:
        raise RuntimeError(f"a bug that {lives} bring out")

    door.ledger.extend = broken  # type: ignore[method-assign]
    ticket = await door.admit()
    spool.append(encode_entries([door.entry(ticket, ongoing=True)]))
    with pytest.raises(ExceptionGroup) as told:
        await pump(door, spool).run()
    assert isinstance(told.value.exceptions[0], RuntimeError)
    assert spool.records == 2
    spool.close()


async def test_a_pump_that_is_run_anew_takes_the_records_again(tmp_path: Path) -> None:
    """What was taken and not committed is not lost to a pump that is started after a fault."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    await spooled(door, spool, 3)
    spool.take(1 << 20)
    running = pump(door, spool)
    running.drain()
    await running.run()
    assert door.posted_nanos() == FUNDS_NANOS - 3 * CHAT_NANOS
    spool.close()


def _entries(payload: bytes) -> list[Entry]:
    found = decode(payload)
    assert isinstance(found, list)
    return found
