"""What a settler left behind is settled by another one, exactly as its own."""

import asyncio
import itertools
from pathlib import Path

import pytest

from accesslog.adopt import Adopter
from accesslog.assembly import claim_spool, open_spool
from accesslog.pump import Pump
from accesslog.records import encode_entries
from accesslog.settings import AccessLogSettings, SettleSettings, SpoolSettings
from accesslog.spool import Spool
from billing.errors import StoreUnavailable
from tests.unit.accesslog.door import CHAT_NANOS, FUNDS_NANOS, Door, Ledger, open_door

SETTINGS = AccessLogSettings(
    settle=SettleSettings(batch_entries=10, batch_wait_s=0.0),
    spool=SpoolSettings(1 << 20, 1 << 14, 1 << 14),
)


def adopter(root: Path, door: Door) -> Adopter:
    desk = door.desk

    def pump(spool: Spool) -> Pump:
        return Pump(spool, desk.judge, desk.settler, desk.settings.settle, door.clock.now_s)

    return Adopter(
        root,
        opened=lambda path: Spool(path, desk.settings.spool, door.clock.now_us, desk.notices.tell),
        pump=pump,
        interval_s=1.0,
        metrics=desk.around.metrics,
        notices=desk.notices,
    )


def holds_off(one: Adopter) -> bool:
    return one.oldest_us is not None


def names(root: Path) -> list[str]:
    return [path.name for path in root.iterdir()]


async def left_behind(root: Path, name: str, entries: int, ledger: Ledger, first: int = 1) -> Door:
    """The door of a settler that spooled so many entries, numbered from ``first``, and died."""
    door = await open_door(SETTINGS, ledger=ledger)
    door.numbers = itertools.count(first)
    spool = open_spool(root / name, door.desk)
    for _ in range(entries):
        spool.append(encode_entries([door.entry(await door.admit())]))
    spool.close()
    return door


async def test_what_the_dead_left_is_settled_and_removed(tmp_path: Path) -> None:
    """Several spools, one of an earlier version in the root itself; their directories go."""
    ledger = Ledger()
    await left_behind(tmp_path, "settler-2", 25, ledger)
    await left_behind(tmp_path, ".", 5, ledger, first=100)
    door = await open_door(SETTINGS, ledger=ledger)
    own = claim_spool(tmp_path, door.desk)
    assert await adopter(tmp_path, door).adopt() == 2
    assert names(tmp_path) == ["settler-1"]
    assert door.posted_nanos() == FUNDS_NANOS - 30 * CHAT_NANOS
    assert door.count("spools_adopted_total", fate="settled") == 2
    assert any("5 records of" in text for text in door.told)
    own.close()


async def test_the_living_are_left_alone(tmp_path: Path) -> None:
    """A spool whose owner lives, one's own among them, is not touched."""
    door = await open_door(SETTINGS)
    spool = claim_spool(tmp_path, door.desk)
    spool.append(encode_entries([door.entry(await door.admit())]))
    assert await adopter(tmp_path, door).adopt() == 0
    assert spool.records == 1
    spool.close()


async def test_what_was_settled_before_is_known(tmp_path: Path) -> None:
    """A settler that died between COMMIT and letting go leaves entries that are duplicates."""
    ledger = Ledger()
    door = await open_door(SETTINGS, ledger=ledger)
    spool = open_spool(tmp_path / "settler-2", door.desk)
    entries = [door.entry(await door.admit()) for _ in range(4)]
    spool.append(encode_entries(entries))
    spool.close()
    await door.settle(*entries)
    assert await adopter(tmp_path, door).adopt() == 1
    assert door.count("duplicates_total") == 4
    assert door.posted_nanos() == FUNDS_NANOS - 4 * CHAT_NANOS


async def test_one_that_ends_in_the_middle_leaves_the_rest(tmp_path: Path) -> None:
    """While the ledger is away the records stay, hold expiry off, and are another's afterwards."""
    ledger = Ledger()
    door = await left_behind(tmp_path, "settler-2", 8, ledger)
    door.ledger.faults = [StoreUnavailable("away")] * 1_000_000
    one = adopter(tmp_path, door)
    task = asyncio.create_task(one.run())
    while not holds_off(one) or len(door.ledger.faults) == 1_000_000:
        await asyncio.sleep(0)
    assert door.count("adopted_records") == 8
    task.cancel()
    await asyncio.wait([task])
    assert not holds_off(one)
    door.ledger.faults = []
    after = await open_door(SETTINGS, ledger=ledger)
    assert await adopter(tmp_path, after).adopt() == 1
    assert after.posted_nanos() == FUNDS_NANOS - 8 * CHAT_NANOS
    assert names(tmp_path) == []


async def test_a_directory_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """It is counted and left to others, each time; the rest is settled all the same."""
    door = await left_behind(tmp_path, "settler-2", 3, Ledger())
    broken = tmp_path / "settler-1"
    broken.mkdir()
    (broken / "00000000000000000001.seg").mkdir()
    one = adopter(tmp_path, door)
    assert await one.adopt() == 1
    assert await one.adopt() == 0
    assert door.count("spools_adopted_total", fate="unreadable") == 2, "nobody owns it meanwhile"
    assert door.posted_nanos() == FUNDS_NANOS - 3 * CHAT_NANOS
    assert broken.exists()


async def test_a_fault_of_the_settler_is_heard(tmp_path: Path) -> None:
    """A fault that nobody foresaw ends the loop, and the records stay for another settler."""
    door = await left_behind(tmp_path, "settler-2", 2, Ledger())

    def broken(entries: object) -> None:
        raise RuntimeError(f"a bug that {entries} bring out")

    door.desk.judge.judge = broken  # type: ignore[assignment, method-assign]
    with pytest.raises(ExceptionGroup):
        await adopter(tmp_path, door).run()
    again = open_spool(tmp_path / "settler-2", (await open_door(SETTINGS)).desk)
    assert again.records == 2
    again.close()
