"""Settling what a log file holds and the ledger does not.

A file is read from where the last replay of it stopped. What is in the ledger already is known by
its reservation and counted as a duplicate, so replaying a file twice, two at once, or beside a sink
that works is safe. What is no entry is counted and the first of it named by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from accesslog.bookmarks import START, Bookmark, Bookmarks, digest
from accesslog.judge import Judge
from accesslog.logfile import BrokenFile, Line, LogFile
from accesslog.logline import LINE_START, NoEntry, read_line
from accesslog.settings import ReplaySettings
from accesslog.settle import Settler, Tally
from accesslog.values import Entry


class BadLine(NamedTuple):
    """A line that is no entry, and why."""

    path: Path
    number: int
    reason: str


@dataclass(slots=True)
class FileReport:
    """What became of one file.

    ``lines`` were read now, from ``first_line`` on; ``entries`` of them carried a ticket; ``bad``
    were no entries. ``fault`` says why the file was not read to its end, ``place_fault`` why the
    place could not be kept; both are empty when all is well.
    """

    path: Path
    first_line: int = 1
    lines: int = 0
    entries: int = 0
    bad: int = 0
    fault: str = ""
    place_fault: str = ""
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class ReplayReport:
    """What became of all files; ``bad_lines`` names the first of the lines that were no entries."""

    files: list[FileReport] = field(default_factory=list)
    bad_lines: list[BadLine] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every file was read to its end and every line was an entry."""
        return not any(file.fault or file.bad for file in self.files)


class Progress(NamedTuple):
    """How far a file was read: bytes of the file itself, packed or not."""

    path: Path
    read_bytes: int
    size_bytes: int
    lines: int


async def replay_files(
    paths: Sequence[Path],
    *,
    judge: Judge,
    settler: Settler,
    usage_headers: Mapping[str, str],
    settings: ReplaySettings,
    bookmark_directory: Path | None = None,
    progress: Callable[[Progress], None] = lambda _progress: None,
) -> ReplayReport:
    """Settle what is in the files, oldest first as they are given.

    Places are kept beside each file, or in ``bookmark_directory``. A file that cannot be opened is
    reported like any other fault of it; faults of the ledger are waited out by the settler.
    """
    report = ReplayReport()
    for path in paths:
        bookmarks = Bookmarks(bookmark_directory or path.parent, settings.bookmarks)
        replay = _FileReplay(path, report, bookmarks, usage_headers, settings)
        report.files.append(replay.file)
        try:
            with LogFile(path) as log:
                for batch in replay.batches(log):
                    replay.file.tally.merge(await settler.settle(judge.judge(batch)))
                    replay.keep_place()
                    done = Progress(path, log.read_bytes, log.size_bytes, replay.file.lines)
                    progress(done)
        except OSError as error:
            replay.file.fault = f"cannot be read: {error}"
    return report


class _FileReplay:
    """One file on its way through: what was read of it, and the place to go on from."""

    def __init__(
        self,
        path: Path,
        report: ReplayReport,
        bookmarks: Bookmarks,
        usage_headers: Mapping[str, str],
        settings: ReplaySettings,
    ) -> None:
        self.file = FileReport(path)
        self._report = report
        self._bookmarks = bookmarks
        self._usage_headers = usage_headers
        self._settings = settings
        self._key = ""
        self._place = START

    def batches(self, log: LogFile) -> Iterator[list[Entry]]:
        """Entries not yet replayed, in batches; a batch may be empty where the file has none."""
        batch: list[Entry] = []
        since = 0
        try:
            for line in self._fresh_lines(log):
                entry = self._read(line)
                if self._is_no_log(self._settings.trial_lines):
                    return
                since += 1
                if entry is not None:
                    batch.append(entry)
                if since >= self._settings.batch_lines:
                    yield batch
                    batch, since = [], 0
        except BrokenFile as error:
            self.file.fault = str(error)
        if since and not self._is_no_log(1):
            yield batch

    def keep_place(self) -> None:
        """Note up to where the file is settled; without it the next replay starts over."""
        if self._key and self._place is not START:
            try:
                self._bookmarks.keep(self._key, self._place)
            except OSError as error:
                self.file.place_fault = f"its place cannot be kept: {error}"

    def _fresh_lines(self, log: LogFile) -> Iterator[Line]:
        """The lines after the bookmark, if the line before it is still the one that was done."""
        most_bytes = self._settings.max_line_bytes
        first = next(log.lines(0, 1, most_bytes), None)
        if first is not None and first.ended and first.text:
            self._key = digest(first.text)
        mark = self._bookmarks.find(self._key) if self._key else START
        if mark.offset:
            lines = log.lines(mark.offset - mark.line_bytes, mark.number - 1, most_bytes)
            last = next(lines, None)
            if last is not None and digest(last.text or b"") == mark.digest:
                self.file.first_line = mark.number
                self._place = mark
                yield from lines
                return
        yield from log.lines(0, 1, most_bytes)

    def _read(self, line: Line) -> Entry | None:
        """The entry of a line, if it is one and is ours; moves the place on."""
        self.file.lines += 1
        entry = None
        if line.text is None:
            self._note_bad(line.number, f"longer than {self._settings.max_line_bytes} bytes")
        else:
            try:
                entry = read_line(line.text, self._usage_headers)
            except NoEntry as error:
                if line.ended or not line.text.startswith(b"{"):
                    self._note_bad(line.number, str(error))
                    entry = self._read_behind(line)
                # else Envoy may be in the middle of writing it
        if line.ended:
            size_bytes = line.end - self._place.offset
            known = digest(line.text or b"")
            name = self.file.path.name
            self._place = Bookmark(line.end, line.number + 1, size_bytes, known, name)
        self.file.entries += entry is not None
        return entry

    def _read_behind(self, line: Line) -> Entry | None:
        """The entry behind half of another: Envoy was killed in mid-write, and the next one wrote
        on in the same line."""
        assert line.text is not None, "a line that was read"
        start = line.text.rfind(LINE_START)
        if start <= 0:
            return None
        try:
            return read_line(line.text[start:], self._usage_headers)
        except NoEntry:
            return None  # the line was noted as bad already

    def _note_bad(self, number: int, reason: str) -> None:
        self.file.bad += 1
        if len(self._report.bad_lines) < self._settings.reported_lines:
            self._report.bad_lines.append(BadLine(self.file.path, number, reason))

    def _is_no_log(self, tried_lines: int) -> bool:
        """Whether so many lines were read from the start, and none of them is an entry."""
        tried = self.file.first_line == 1 and self.file.lines >= tried_lines
        if not tried or self.file.bad < self.file.lines:
            return False
        self.file.fault = f"no access log: none of its first {self.file.lines} lines is an entry"
        return True
