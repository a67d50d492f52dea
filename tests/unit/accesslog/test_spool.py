"""The queue on disk: order, bound, restart, damage."""

import errno
import os
from pathlib import Path

import pytest

from accesslog.settings import SpoolSettings
from accesslog.spool import Spool
from billing.errors import ConfigError, Conflict, QueueFull

SMALL = SpoolSettings(max_bytes=32_768, segment_bytes=4_096, window_bytes=8_192)


class Owner:
    """Opens spools of one directory and hears what they tell."""

    def __init__(self, directory: Path, settings: SpoolSettings = SMALL) -> None:
        self.directory = directory
        self.settings = settings
        self.now_us = 1_000
        self.told: list[str] = []

    def open(self) -> Spool:
        return Spool(
            self.directory, self.settings, self._tick, lambda kind, _text: self.told.append(kind)
        )

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.directory.glob(pattern))

    def _tick(self) -> int:
        self.now_us += 1
        return self.now_us


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path / "spool")


def numbered(count: int, size_bytes: int = 500) -> list[bytes]:
    return [str(n).encode().ljust(size_bytes, b".") for n in range(count)]


def drain(spool: Spool, at_most_bytes: int = 2_000) -> list[bytes]:
    """Take and acknowledge all that there is."""
    payloads = []
    while taken := spool.take(at_most_bytes):
        payloads += [record.payload for record in taken]
        spool.acknowledge(taken[-1].end)
    return payloads


def test_records_come_out_in_order_and_leave_when_acknowledged(owner: Owner) -> None:
    """First in, first out; nothing leaves before it is acknowledged."""
    spool = owner.open()
    for payload in numbered(3):
        spool.append(payload)
    taken = spool.take(10_000)
    assert [record.payload for record in taken] == numbered(3)
    assert spool.records == 3
    assert spool.oldest_us == taken[0].appended_us
    spool.acknowledge(taken[1].end)
    assert spool.records == 1
    assert spool.take(10_000) == []
    spool.close()


def test_what_is_not_acknowledged_comes_again_after_a_restart(owner: Owner) -> None:
    """A new owner starts right after the last acknowledged record."""
    spool = owner.open()
    for payload in numbered(20):
        spool.append(payload)
    spool.acknowledge(spool.take(5 * 520)[-1].end)
    spool.close()
    again = owner.open()
    assert again.records == 15
    assert drain(again) == numbered(20)[5:]
    again.close()
    assert owner.told == []


def test_a_backlog_larger_than_the_window_is_read_from_disk(owner: Owner) -> None:
    """With three times the window waiting, all comes out in order and memory stays bounded."""
    spool = owner.open()
    for payload in numbered(48):
        spool.append(payload)
    assert spool._window_bytes <= SMALL.window_bytes
    assert drain(spool) == numbered(48)
    spool.append(b"after")
    assert drain(spool) == [b"after"]
    spool.close()


def test_appending_goes_on_while_the_reader_is_behind(owner: Owner) -> None:
    """Taking and appending in turn keeps the order over the change from memory to disk and back."""
    spool = owner.open()
    got: list[bytes] = []
    for n, payload in enumerate(numbered(200)):
        spool.append(payload)
        if n % 3 == 2 and n > 40:
            taken = spool.take(2_000)
            got += [record.payload for record in taken]
            spool.acknowledge(taken[-1].end)
    assert got + drain(spool) == numbered(200)
    spool.close()


def test_the_bound_refuses_and_room_comes_with_acknowledgement(owner: Owner) -> None:
    """At its bound the spool takes nothing more, keeps what it has, and goes on once it drained."""
    spool = owner.open()
    for payload in numbered(100):
        if spool.size_bytes + 520 > SMALL.max_bytes:
            break
        spool.append(payload)
    kept = spool.records
    with pytest.raises(QueueFull, match="of 32768"):
        spool.append(b"." * 500)
    assert 50 < kept < 64
    assert spool.size_bytes <= SMALL.max_bytes
    assert not spool._room.is_set()
    assert drain(spool) == numbered(100)[:kept]
    assert spool._room.is_set()
    spool.append(b"again")
    assert drain(spool) == [b"again"]
    spool.close()


def test_space_is_given_back_by_segments(owner: Owner) -> None:
    """Files whose records are all acknowledged are removed."""
    spool = owner.open()
    for payload in numbered(40):
        spool.append(payload)
    assert len(owner.files("*.seg")) > 4
    drain(spool)
    assert len(owner.files("*.seg")) == 1
    spool.close()
    owner.open().close()
    assert len(owner.files("*.seg")) == 1


def test_a_record_larger_than_a_segment_has_its_own(owner: Owner) -> None:
    """The size of a segment does not bound a record."""
    spool = owner.open()
    spool.append(b"small")
    spool.append(b"x" * 20_000)
    spool.append(b"small")
    assert drain(spool) == [b"small", b"x" * 20_000, b"small"]
    spool.close()


def test_a_torn_end_is_cut(owner: Owner) -> None:
    """What a dying process wrote in part is cut off and reported; nothing is set aside."""
    spool = owner.open()
    for payload in numbered(3):
        spool.append(payload)
    spool.close()
    segment = owner.files("*.seg")[0]
    os.truncate(segment, segment.stat().st_size - 7)
    again = owner.open()
    assert drain(again) == numbered(3)[:2]
    again.close()
    assert owner.told == ["torn"]
    assert owner.files("*.damaged") == []


def test_damage_in_the_middle_is_set_aside(owner: Owner) -> None:
    """A broken record is kept for a person, and those around it are settled."""
    spool = owner.open()
    for payload in numbered(5):
        spool.append(payload)
    spool.close()
    segment = owner.files("*.seg")[0]
    data = bytearray(segment.read_bytes())
    data[2 * 520 + 100] ^= 1
    segment.write_bytes(data)
    again = owner.open()
    assert again.records == 4
    assert drain(again) == [p for n, p in enumerate(numbered(5)) if n != 2]
    again.close()
    assert owner.told == ["damaged"]
    (kept,) = owner.files("*.damaged")
    assert kept.read_bytes() == bytes(data[2 * 520 : 3 * 520])


def test_the_place_is_kept_when_damage_lies_before_it(owner: Owner) -> None:
    """Cutting damage out of a segment does not bring acknowledged records back."""
    spool = owner.open()
    for payload in numbered(5):
        spool.append(payload)
    spool.acknowledge(spool.take(3 * 520)[-1].end)
    spool.close()
    segment = owner.files("*.seg")[0]
    data = bytearray(segment.read_bytes())
    data[520 + 100] ^= 1
    segment.write_bytes(data)
    again = owner.open()
    assert drain(again) == numbered(5)[3:]
    again.close()


def test_a_file_of_zeros_is_set_aside(owner: Owner) -> None:
    """A segment of zeros is no reason not to start: it is kept aside, the others are read."""
    spool = owner.open()
    for payload in numbered(20):
        spool.append(payload)
    spool.close()
    first = owner.files("*.seg")[0]
    size_bytes = first.stat().st_size
    lost = size_bytes // 520
    first.write_bytes(bytes(size_bytes))
    again = owner.open()
    assert drain(again) == numbered(20)[lost:]
    again.close()
    assert owner.told == ["damaged"]
    assert owner.files("*.damaged")[0].read_bytes() == bytes(size_bytes)


def test_damage_found_while_running_is_set_aside(owner: Owner) -> None:
    """A segment that is broken or removed under a running reader costs what it held, no more."""
    spool = owner.open()
    for payload in numbered(60):
        spool.append(payload)
    segments = owner.files("*.seg")
    segments[-3].write_bytes(bytes(segments[-3].stat().st_size))
    segments[-2].unlink()
    got = drain(spool)
    assert got == [p for p in numbered(60) if p in got]
    assert len(got) == 60 - 7 - 7
    assert spool.records == 0
    assert owner.told == ["damaged", "gone"]
    spool.close()


def test_a_lost_place_makes_records_come_twice(owner: Owner) -> None:
    """Without the acknowledged place everything on disk is taken again, which the ledger knows."""
    spool = owner.open()
    for payload in numbered(4):
        spool.append(payload)
    spool.acknowledge(spool.take(2 * 520)[-1].end)
    spool.close()
    (owner.directory / "acknowledged").write_bytes(b"\xff" * 64)
    again = owner.open()
    assert drain(again) == numbered(4)
    again.close()


def test_a_half_written_place_leaves_the_one_before(owner: Owner) -> None:
    """The place is written to two slots in turn, so a torn write costs one batch at most."""
    spool = owner.open()
    for payload in numbered(3):
        spool.append(payload)
    for record in spool.take(10_000)[:2]:
        spool.acknowledge(record.end)
    spool.close()
    place = owner.directory / "acknowledged"
    newest = bytearray(place.read_bytes())
    newest[4] ^= 1
    place.write_bytes(newest)
    again = owner.open()
    assert drain(again) == numbered(3)[1:]
    again.close()


def test_a_directory_has_one_owner(owner: Owner) -> None:
    """A second owner is refused while the first lives, and may have it afterwards."""
    spool = owner.open()
    with pytest.raises(Conflict, match="owns the spool"):
        owner.open()
    spool.close()
    owner.open().close()


@pytest.mark.parametrize("takes", [0, 100])
def test_a_full_disk_refuses_and_leaves_no_trace(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, takes: int
) -> None:
    """A write that fails or stops half-way is refused, and the next one takes its place."""
    spool = owner.open()
    spool.append(b"before")

    def full(fd: int, buffers: list[bytes], offset: int) -> int:
        if not takes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(fd, b"".join(buffers)[:takes], offset)

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(QueueFull, match="disk"):
        spool.append(b"x" * 500)
    monkeypatch.undo()
    spool.append(b"after")
    assert drain(spool) == [b"before", b"after"]
    spool.close()


def test_taken_records_can_be_taken_again(owner: Owner) -> None:
    """A reader that failed gets what it had not acknowledged once more, in order."""
    spool = owner.open()
    for payload in numbered(6):
        spool.append(payload)
    spool.acknowledge(spool.take(2 * 520)[-1].end)
    spool.take(2 * 520)
    spool.restore()
    assert drain(spool) == numbered(6)[2:]
    spool.close()


@pytest.mark.parametrize("fsync", ["segment", "append"])
def test_writing_through_to_the_disk_changes_nothing_else(tmp_path: Path, fsync: str) -> None:
    """With either policy records come out as they went in."""
    settings = SpoolSettings(32_768, 4_096, 8_192, fsync=fsync)  # type: ignore[arg-type]
    spool = Owner(tmp_path, settings).open()
    for payload in numbered(20):
        spool.append(payload)
    assert drain(spool) == numbered(20)
    spool.close()


def test_a_bound_below_four_segments_is_refused() -> None:
    """The settings say at once when they cannot work."""
    with pytest.raises(ConfigError, match="four"):
        SpoolSettings(max_bytes=10_000, segment_bytes=4_096)


def test_a_spool_that_is_done_with_leaves_nothing(owner: Owner) -> None:
    """Once all is acknowledged its directory can be removed, and then be anybody's."""
    spool = owner.open()
    for payload in numbered(20):
        spool.append(payload)
    assert drain(spool) == numbered(20)
    spool.retire()
    assert not owner.directory.exists()
    owner.open().close()
