"""The queue on disk between Envoy's stream and Postgres.

What is appended survives the death of the process and leaves only when its settlement is known to
be committed. One process owns a directory; its one reader takes records in order, from memory while
it keeps up and from disk when it does not, and acknowledges them in order. After a crash the reader
starts at the last acknowledged record: what was settled and not acknowledged comes twice, which the
ledger knows.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accesslog.ackfile import AckFile
from accesslog.segments import HEADER_BYTES, Damage, Position, Record, frame, scan
from accesslog.settings import SpoolSettings
from accesslog.shelf import Shelf, Tell
from billing.errors import QueueFull


@dataclass(slots=True)
class _Segment:
    """What is known of one file: its size, its records not yet acknowledged, its first time."""

    size_bytes: int = 0
    unacked: int = 0
    first_us: int = 0


class Spool:
    """One spool directory, opened by its owner.

    ``tell`` hears of ``torn``, ``damaged`` and ``gone`` parts and of a ``place`` not kept. Raises
    :class:`billing.errors.Conflict` when another process owns the directory.
    """

    def __init__(
        self,
        directory: Path,
        settings: SpoolSettings,
        now_us: Callable[[], int],
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._now_us = now_us
        self._tell = tell
        self._segments: dict[int, _Segment] = {}
        self._window: deque[Record] = deque()
        self._window_bytes = 0
        self._taken: deque[Record] = deque()
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._refused = False
        self._shelf = Shelf(directory, tell)
        try:
            self._ackfile = AckFile(directory / "acknowledged")
            acked = self._recover()
            self._write = Position(max([*self._segments, acked.segment]) + 1, 0)
            self._fd = self._begin(self._write.segment)
        except BaseException:
            self._shelf.close()  # whoever cannot read it must not own it
            raise
        self._window_end = acked if self.records else self._write
        if self.records:
            self._readable.set()

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, the acknowledged ones of unfinished segments included."""
        return sum(segment.size_bytes for segment in self._segments.values())

    @property
    def records(self) -> int:
        """Records that are not acknowledged."""
        return sum(segment.unacked for segment in self._segments.values())

    @property
    def is_drained(self) -> bool:
        """Whether everything was taken; what was taken may still have to be acknowledged."""
        return not self._window and self._window_end == self._write

    @property
    def is_full(self) -> bool:
        """Whether an append found no room and less than a quarter of the bound is free since."""
        return self._refused and self.records > 0

    @property
    def oldest_us(self) -> int | None:
        """When the oldest record that is not acknowledged was appended, or a little before."""
        if self._taken:
            return self._taken[0].appended_us
        waiting = (segment.first_us for segment in self._segments.values() if segment.unacked)
        return next(waiting, None)

    def append(self, payload: bytes) -> None:
        """Keep a payload; :class:`QueueFull` when the bound is reached or the disk is full."""
        self._make_room(HEADER_BYTES + len(payload))
        now_us = self._now_us()
        header = frame(payload, now_us)
        self._write_out(header, payload)
        segment = self._segments[self._write.segment]
        segment.first_us = segment.first_us or now_us
        segment.unacked += 1
        segment.size_bytes += len(header) + len(payload)
        begun = self._write
        self._write = Position(begun.segment, segment.size_bytes)
        self._remember(begun, Record(self._write, now_us, payload))
        self._readable.set()

    def take(self, at_most_bytes: int) -> list[Record]:
        """The next records in order, at least one if there is any; they stay until acknowledged."""
        if not self._window:
            self._refill()
        taken: list[Record] = []
        size_bytes = 0
        while self._window and size_bytes < at_most_bytes:
            record = self._window.popleft()
            size_bytes += record.size_bytes
            taken.append(record)
        self._window_bytes -= size_bytes
        self._taken.extend(taken)
        if self.is_drained:
            self._readable.clear()
        return taken

    def acknowledge(self, end: Position) -> None:
        """Let go of every record up to ``end``: its settlement is committed."""
        while self._taken and self._taken[0].end <= end:
            self._segments[self._taken.popleft().end.segment].unacked -= 1
        try:
            self._ackfile.write(end)
        except OSError as error:
            # The worst that comes of it is that a crash makes these records come twice.
            self._tell("place", f"the place in the spool could not be written: {error}")
        for number in [n for n in self._segments if n < end.segment]:
            self._drop(number)
        if self.size_bytes * 4 <= self._settings.max_bytes * 3:
            self._refused = False
        self._room.set()

    def restore(self) -> None:
        """Put what was taken and not acknowledged back, to be taken again."""
        self._window.extendleft(reversed(self._taken))
        self._window_bytes += sum(record.size_bytes for record in self._taken)
        self._taken.clear()
        if self._window:
            self._readable.set()

    async def wait_readable(self) -> None:
        """Return when there is something to take, or after :meth:`wake`."""
        await self._readable.wait()

    def wake(self) -> None:
        """Let a reader that waits look around, although there is nothing to take."""
        self._readable.set()

    async def wait_room(self) -> None:
        """Return when something was acknowledged since the last append that found no room."""
        await self._room.wait()

    def close(self) -> None:
        """Give the directory up; what is in it stays."""
        os.close(self._fd)
        self._ackfile.close()
        self._shelf.close()

    def retire(self) -> None:
        """Remove the directory of a spool that holds nothing any more, and give it up."""
        assert self.records == 0, "what is not settled is never removed"
        os.close(self._fd)
        for number in self._segments:
            self._shelf.remove(number)
        self._ackfile.retire()
        self._shelf.retire()

    def _recover(self) -> Position:
        """Check what the last owner left; returns up to where it was acknowledged."""
        numbers = self._shelf.numbers()
        acked = self._ackfile.position
        for number in numbers:
            if number < acked.segment:
                self._shelf.remove(number)
                continue
            offset = acked.offset if number == acked.segment else 0
            checked, offset = self._shelf.check(number, offset)
            unacked = sum(end > offset for end in checked.ends)
            if unacked:
                self._segments[number] = _Segment(checked.size_bytes, unacked, checked.first_us)
            else:
                self._shelf.remove(number)
            if number == acked.segment:
                acked = Position(number, offset)
        return acked

    def _begin(self, number: int) -> int:
        """Start a segment to be written to; returns its descriptor."""
        descriptor = self._shelf.create(number)
        self._segments[number] = _Segment()
        return descriptor

    def _make_room(self, size_bytes: int) -> None:
        current = self._segments[self._write.segment]
        if current.size_bytes and current.size_bytes + size_bytes > self._settings.segment_bytes:
            self._roll()
        held_bytes, most_bytes = self.size_bytes, self._settings.max_bytes
        if self.records and held_bytes + size_bytes > most_bytes:
            raise self._full(f"the spool holds {held_bytes} bytes of {most_bytes}")

    def _full(self, why: str) -> QueueFull:
        self._refused = True
        self._room.clear()
        return QueueFull(why)

    def _roll(self) -> None:
        """Finish the segment and begin the next; what was acknowledged of it is let go."""
        finished, descriptor = self._write, self._fd
        try:
            self._fd = self._begin(finished.segment + 1)
        except OSError as error:
            raise self._full(f"the spool's disk takes no more: {error}") from error
        if self._settings.fsync != "never":
            os.fsync(descriptor)
        os.close(descriptor)
        self._write = Position(finished.segment + 1, 0)
        if self._window_end == finished:
            self._window_end = self._write
        if self._segments[finished.segment].unacked == 0:
            self._drop(finished.segment)

    def _write_out(self, header: bytes, payload: bytes) -> None:
        """Write one record where the last one ended; what is written in part is overwritten."""
        size_bytes = len(header) + len(payload)
        try:
            written = os.pwritev(self._fd, [header, payload], self._write.offset)
            if self._settings.fsync == "append":
                os.fsync(self._fd)
        except OSError as error:
            raise self._full(f"the spool's disk takes no more: {error}") from error
        if written < size_bytes:
            raise self._full(f"the spool's disk took {written} bytes of {size_bytes}")

    def _remember(self, begun: Position, record: Record) -> None:
        """Keep a record in memory as long as the window holds all that is unread before it."""
        fits = self._window_bytes + record.size_bytes <= self._settings.window_bytes
        if self._window_end == begun and (fits or not self._window):
            self._window.append(record)
            self._window_bytes += record.size_bytes
            self._window_end = record.end

    def _refill(self) -> None:
        """Read the rest of the next unread segment into the window."""
        while not self._window and self._window_end != self._write:
            number, offset = self._window_end
            segment = self._segments.get(number)
            if segment is not None and offset < segment.size_bytes:
                self._read_rest(number, offset, segment)
                self._window_end = Position(number, segment.size_bytes)
            else:
                self._window_end = Position(min(n for n in self._segments if n > number), 0)

    def _read_rest(self, number: int, offset: int, segment: _Segment) -> None:
        data = self._shelf.read(number, offset, segment.size_bytes)
        before = len(self._window) + sum(r.end.segment == number for r in self._taken)
        for found in scan(data, number):
            if isinstance(found, Damage):
                moved = Damage(found.start + offset, found.end + offset, torn=False)
                self._shelf.set_aside(number, moved, data[found.start : found.end])
                continue
            end = Position(number, found.end.offset + offset)
            self._window.append(found._replace(end=end))
            self._window_bytes += found.size_bytes
        segment.unacked = before + len(self._window)

    def _drop(self, number: int) -> None:
        del self._segments[number]
        self._shelf.remove(number)
