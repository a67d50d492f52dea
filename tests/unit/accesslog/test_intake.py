"""Messages of the stream into the spool, and what happens when it is full."""

import asyncio
from pathlib import Path

import pytest

from accesslog.assembly import open_spool
from accesslog.intake import Intake
from accesslog.records import decode
from accesslog.settings import AccessLogSettings, FullPosture, SpoolSettings
from accesslog.spool import Spool
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage
from tests.unit.accesslog.door import Door, open_door
from tests.unit.accesslog.test_entry import logged

SETTINGS = AccessLogSettings(spool=SpoolSettings(16_384, 4_096, 4_096))


def intake(door: Door, spool: Spool, when_full: FullPosture = "hold") -> Intake:
    return Intake(
        spool,
        usage_headers={},
        chunk_entries=10,
        when_full=when_full,
        metrics=door.desk.around.metrics,
        notices=door.desk.notices,
    )


def message(count: int, ticket: str = "ticket") -> bytes:
    found = StreamAccessLogsMessage()
    for _ in range(count):
        logged(found, ticket)
    return found.SerializeToString()


async def test_a_message_is_one_record_and_its_entries_are_counted(tmp_path: Path) -> None:
    """Entries with a ticket are kept before anything else; the others are counted only."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    taking = intake(door, spool)
    await taking.take(message(3))
    await taking.take(message(2, ticket=""))
    assert spool.records == 1
    (record,) = spool.take(1 << 20)
    found = decode(record.payload)
    assert isinstance(found, list)
    assert [entry.ticket for entry in found] == ["ticket"] * 3
    assert door.count("entries_total", kind="ended") == 3
    assert door.count("entries_total", kind="without_ticket") == 2
    assert door.count("messages_total", fate="taken") == 2
    spool.close()


async def test_a_large_message_is_kept_in_parts(tmp_path: Path) -> None:
    """Other tasks run between the parts of a large message, so that health is answered."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    task = asyncio.create_task(intake(door, spool).take(message(35)))
    seen = []
    while not task.done():
        await asyncio.sleep(0)
        seen.append(spool.records)
    assert spool.records == 4
    assert len(set(seen)) > 2
    spool.close()


async def test_what_is_no_message_is_kept_for_a_person(tmp_path: Path) -> None:
    """Bytes that cannot be parsed are counted, told, and spooled as they came."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    await intake(door, spool).take(b"\xff\xff\xff")
    (record,) = spool.take(1 << 20)
    assert decode(record.payload) == b"\xff\xff\xff"
    assert door.count("messages_total", fate="unreadable") == 1
    assert door.told[0].startswith("unreadable: 3 bytes")
    spool.close()


async def filled(taking: Intake, spool: Spool) -> "asyncio.Task[None]":
    """A stream that goes on until the spool takes no more."""

    async def stream() -> None:
        while True:
            await taking.take(message(10))

    task = asyncio.create_task(stream())
    while not spool.is_full and not task.done():
        await asyncio.sleep(0)
    return task


async def test_a_full_spool_is_not_silent_and_loses_nothing(tmp_path: Path) -> None:
    """The stream is not read on, the intake says that it stalls, and room lets it go on."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    taking = intake(door, spool)
    stalled = [taking.is_stalled]
    task = await filled(taking, spool)
    await asyncio.sleep(0)
    stalled.append(taking.is_stalled)
    assert stalled == [False, True]
    assert door.count("streams_held") == 1
    assert door.told[0].startswith("spool_full")
    assert spool.size_bytes <= 16_384
    held = spool.records
    emptied(spool)
    while not spool.records:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert held > 0
    assert door.count("streams_held") == 0
    assert door.count("marked_total") == 0
    spool.close()


async def test_the_other_posture_drops_and_marks(tmp_path: Path) -> None:
    """With ``mark`` the stream goes on; what is dropped is counted and told with its times."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    taking = intake(door, spool, "mark")
    for _ in range(40):
        await taking.take(message(10))
    assert spool.is_full
    assert not taking.is_stalled
    dropped = door.count("marked_total")
    kept = 10 * spool.records
    assert dropped + kept == 400
    assert any("from Unix second 1800000000 to 1800000000" in text for text in door.told)
    spool.close()


def emptied(spool: Spool) -> None:
    while taken := spool.take(1 << 20):
        spool.acknowledge(taken[-1].end)


@pytest.mark.parametrize("all_of_it", [False, True])
async def test_the_stall_ends_when_there_is_room(tmp_path: Path, all_of_it: bool) -> None:
    """A quarter of the bound must be free before the sender is asked to go on."""
    door = await open_door(SETTINGS)
    spool = open_spool(tmp_path, door.desk)
    taking = intake(door, spool)
    task = await filled(taking, spool)
    task.cancel()
    await asyncio.wait([task])
    spool.acknowledge(spool.take(1)[-1].end)
    if all_of_it:
        emptied(spool)
    assert taking.is_stalled is not all_of_it
    spool.close()
