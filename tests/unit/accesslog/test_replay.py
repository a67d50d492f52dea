"""Log files into the ledger: what is missing is settled, what is there is skipped."""

import asyncio
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from accesslog.bookmarks import FILE_NAME
from accesslog.logline import write_line
from accesslog.replay import BadLine, Progress, ReplayReport, replay_files
from accesslog.settings import ReplaySettings
from billing.ticket import Ticket
from tests.unit.accesslog.door import ANNA, CHAT_NANOS, FUNDS_NANOS, Door, Ledger, open_door

SETTINGS = ReplaySettings(batch_lines=10, trial_lines=20, reported_lines=5)


async def replay(
    door: Door, *paths: Path, settings: ReplaySettings = SETTINGS, **more: object
) -> ReplayReport:
    return await replay_files(
        paths,
        judge=door.desk.judge,
        settler=door.desk.settler,
        usage_headers={},
        settings=settings,
        **more,  # type: ignore[arg-type]
    )


async def logged(door: Door, count: int) -> tuple[list[Ticket], bytes]:
    """Requests that were served, and the lines that Envoy wrote of them."""
    tickets = [await door.admit() for _ in range(count)]
    lines = [write_line(door.entry(ticket)) for ticket in tickets]
    return tickets, "".join(f"{line}\n" for line in lines).encode()


async def test_what_is_missing_is_settled_and_what_is_there_is_skipped(tmp_path: Path) -> None:
    """Seven of thirty entries came by the stream; the file brings the other twenty-three."""
    door = await open_door()
    tickets, text = await logged(door, 30)
    await door.settle(*map(door.entry, tickets[:7]))
    (tmp_path / "access.log").write_bytes(text)
    report = await replay(door, tmp_path / "access.log")
    (file,) = report.files
    assert (file.lines, file.entries, file.bad, file.fault) == (30, 30, 0, "")
    assert (file.tally.settled, file.tally.duplicates) == (23, 7)
    assert report.is_clean
    assert door.posted_nanos() == FUNDS_NANOS - 30 * CHAT_NANOS


async def test_a_second_replay_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """Only what was written since is read; the file may have been renamed and packed meanwhile."""
    door = await open_door()
    _, first = await logged(door, 25)
    _, second = await logged(door, 5)
    path = tmp_path / "access.log"
    path.write_bytes(first)
    await replay(door, path)
    (again,) = (await replay(door, path)).files
    assert (again.first_line, again.lines) == (26, 0)
    path.unlink()
    packed = tmp_path / "access.log.1.gz"
    packed.write_bytes(gzip.compress(first + second))
    (rotated,) = (await replay(door, packed)).files
    assert (rotated.first_line, rotated.lines, rotated.tally.settled) == (26, 5, 5)
    assert door.posted_nanos() == FUNDS_NANOS - 30 * CHAT_NANOS


async def test_half_a_line_at_the_end_waits_for_its_rest(tmp_path: Path) -> None:
    """A file that is being written is replayed up to its last whole line, and then on."""
    door = await open_door()
    _, text = await logged(door, 3)
    path = tmp_path / "access.log"
    path.write_bytes(text[:-40])
    (half,) = (await replay(door, path)).files
    assert (half.entries, half.bad, half.fault) == (2, 0, "")
    path.write_bytes(text)
    (rest,) = (await replay(door, path)).files
    assert (rest.first_line, rest.lines, rest.tally.settled) == (3, 1, 1)


async def test_a_file_that_was_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    """The place belongs to the content: another content under the same name is another file."""
    door = await open_door()
    path = tmp_path / "access.log"
    for _ in range(2):
        _, text = await logged(door, 12)
        path.write_bytes(text)
        (file,) = (await replay(door, path)).files
        assert (file.first_line, file.tally.settled) == (1, 12)


async def test_a_place_in_changed_content_is_not_believed(tmp_path: Path) -> None:
    """When another line stands where the last one was, the file is read anew, without harm."""
    door = await open_door()
    _, text = await logged(door, 4)
    path = tmp_path / "access.log"
    path.write_bytes(text)
    await replay(door, path)
    lines = text.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2] + lines[1] + lines[2])
    (file,) = (await replay(door, path)).files
    assert (file.first_line, file.tally.duplicates) == (1, 4)
    assert door.posted_nanos() == FUNDS_NANOS - 4 * CHAT_NANOS


@pytest.mark.parametrize(
    "content",
    [b"\x00" * 100_000, b"no log\n" * 500, os.urandom(50_000), b"[]\n", b"{}\n{}\n"],
    ids=["zeros", "text", "noise", "a list", "objects"],
)
async def test_a_file_that_is_no_log_is_told(tmp_path: Path, content: bytes) -> None:
    """Nothing is settled, the first lines are named by number, and the next file goes on."""
    door = await open_door()
    _, text = await logged(door, 2)
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.write_bytes(content)
    right.write_bytes(text)
    report = await replay(door, wrong, right)
    assert "no access log" in report.files[0].fault or "damaged" in report.files[0].fault
    assert report.files[0].lines <= SETTINGS.trial_lines
    assert report.files[1].tally.settled == 2
    assert not report.is_clean
    assert report.bad_lines[0][:2] == (wrong, 1)
    assert len(report.bad_lines) <= SETTINGS.reported_lines


async def test_garbage_between_lines_is_named_by_line(tmp_path: Path) -> None:
    """Lines that are no entries are counted and named; those around them settle."""
    door = await open_door()
    _, text = await logged(door, 4)
    lines = text.splitlines(keepends=True)
    path = tmp_path / "access.log"
    path.write_bytes(b"".join([lines[0], b"garbage\n", *lines[1:3], b"x" * 2_000_000, b"\n"]))
    report = await replay(door, path)
    assert (report.files[0].bad, report.files[0].tally.settled) == (2, 3)
    first, second = report.bad_lines
    assert isinstance(first, BadLine)
    assert (first.number, second.number) == (2, 5)
    assert "longer than" in second.reason


async def test_an_entry_behind_half_a_line_settles(tmp_path: Path) -> None:
    """Envoy was killed in mid-write and the next one wrote on in that line: the half is told, the
    whole one behind it is settled."""
    door = await open_door()
    _, text = await logged(door, 3)
    lines = [
        json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")).encode()
        for line in text.splitlines()
    ]
    half = lines[1][: len(lines[1]) // 2]
    path = tmp_path / "access.log"
    path.write_bytes(lines[0] + b"\n" + half + lines[2] + b"\n")
    report = await replay(door, path)
    assert (report.files[0].bad, report.files[0].tally.settled) == (1, 2)
    assert [bad.number for bad in report.bad_lines] == [2]


def zstd(text: bytes) -> bytes:
    """Packed in blocks of a kilobyte, as if the file were large."""
    blocks = zstandard.ZstdCompressionParameters.from_level(3, window_log=10)
    return zstandard.ZstdCompressor(compression_params=blocks).compress(text)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
async def test_a_truncated_file_settles_what_is_good(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """What unpacks is settled, the fault is told, and the whole file settles the rest."""
    door = await open_door()
    _, text = await logged(door, 60)
    packed = pack(text)
    path = tmp_path / "access.log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    (cut,) = (await replay(door, path)).files
    assert "truncated" in cut.fault
    path.write_bytes(packed)
    (whole,) = (await replay(door, path)).files
    assert whole.fault == ""
    assert cut.tally.settled > 0
    assert cut.tally.settled + whole.tally.settled == 60
    assert whole.first_line == cut.lines + 1
    assert door.posted_nanos() == FUNDS_NANOS - 60 * CHAT_NANOS


async def test_two_replays_at_once_charge_once(tmp_path: Path) -> None:
    """Two processes over the same file and ledger settle every entry exactly once."""
    ledger = Ledger()
    one, two = await open_door(ledger=ledger), await open_door(ledger=ledger)
    _, text = await logged(one, 100)
    path = tmp_path / "access.log"
    path.write_bytes(text)
    reports = await asyncio.gather(replay(one, path), replay(two, path))
    settled = sum(report.files[0].tally.settled for report in reports)
    duplicates = sum(report.files[0].tally.duplicates for report in reports)
    assert (settled, duplicates) == (100, 100)
    assert one.posted_nanos() == FUNDS_NANOS - 100 * CHAT_NANOS


async def test_a_replayed_entry_makes_an_expired_reservation_late(tmp_path: Path) -> None:
    """What expired while its entry was lost becomes late by the replay."""
    door = await open_door()
    tickets, text = await logged(door, 3)
    await door.copy(ANNA)
    door.clock.forward(601)
    await door.ledger.expire(door.clock.us, 10)
    path = tmp_path / "access.log"
    path.write_bytes(text)
    assert (await replay(door, path)).files[0].tally.late == 3
    assert {door.state(ticket) for ticket in tickets} == {"late"}


async def test_progress_is_shown(tmp_path: Path) -> None:
    """After each batch the caller hears how far the file is."""
    door = await open_door()
    _, text = await logged(door, 25)
    path = tmp_path / "access.log"
    path.write_bytes(text)
    heard: list[Progress] = []
    await replay(door, path, progress=heard.append)
    assert [progress.lines for progress in heard] == [10, 20, 25]
    assert heard[-1] == Progress(path, len(text), len(text), 25)


async def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A missing file and a directory are faults of theirs, and the others are replayed."""
    door = await open_door()
    _, text = await logged(door, 1)
    path = tmp_path / "access.log"
    path.write_bytes(text)
    report = await replay(door, tmp_path / "missing", tmp_path, path)
    assert ["cannot be read" in file.fault for file in report.files] == [True, True, False]
    assert report.files[2].tally.settled == 1


async def test_a_place_that_cannot_be_kept_does_not_stop_the_replay(tmp_path: Path) -> None:
    """Without a place to write, the entries settle all the same, and the report says so."""
    door = await open_door()
    _, text = await logged(door, 12)
    path = tmp_path / "access.log"
    path.write_bytes(text)
    (tmp_path / "places").write_text("not a directory")
    report = await replay(door, path, bookmark_directory=tmp_path / "places")
    assert report.files[0].tally.settled == 12
    assert "cannot be kept" in report.files[0].place_fault
    assert not (tmp_path / FILE_NAME).exists()
