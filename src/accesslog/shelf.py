"""The directory of a spool: one owner, its segments, and what is set aside as damaged."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from accesslog.segments import Damage, Record, scan
from accesslog.slots import SUFFIX, disown, own

Tell = Callable[[str, str], None]
"""Hears what was wrong: a word for the counter and a sentence for a person."""


class Checked(NamedTuple):
    """One segment as it was found: its clean size and its records without their payloads."""

    number: int
    size_bytes: int
    ends: tuple[int, ...]
    first_us: int


class Shelf:
    """The files of one spool directory.

    ``tell`` hears of every damage: ``torn``, ``damaged`` or ``gone``. Raises :class:`Conflict` (of
    :mod:`billing.errors`) when another process owns the directory.
    """

    def __init__(self, directory: Path, tell: Tell) -> None:
        self._lock = own(directory)
        self.directory = directory
        self._tell = tell

    def close(self) -> None:
        """Give the directory up."""
        os.close(self._lock)

    def retire(self) -> None:
        """Remove the directory, whose segments are gone, and give it up."""
        disown(self.directory, self._lock)

    def path(self, number: int) -> Path:
        return self.directory / f"{number:020d}{SUFFIX}"

    def numbers(self) -> list[int]:
        """The segments that there are, oldest first; files of other names are left alone."""
        stems = (path.stem for path in self.directory.glob(f"*{SUFFIX}"))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def create(self, number: int) -> int:
        """Begin a segment; returns its descriptor."""
        return os.open(self.path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def read(self, number: int, start: int, end: int) -> bytes:
        """The bytes of a segment between two offsets; fewer when the file is shorter or gone."""
        try:
            with self.path(number).open("rb") as file:
                file.seek(start)
                return file.read(end - start)
        except FileNotFoundError:
            self._tell("gone", f"segment {number} of the spool {self.directory} is gone")
            return b""

    def remove(self, number: int) -> None:
        self.path(number).unlink(missing_ok=True)

    def check(self, number: int, acked: int) -> tuple[Checked, int]:
        """Read a whole segment; cut a torn end off, set other damage aside.

        Returns what is left and where ``acked`` (an offset) has moved to.
        """
        data = self.path(number).read_bytes()
        found = list(scan(data, number))
        records = [item for item in found if isinstance(item, Record)]
        damages = [item for item in found if isinstance(item, Damage)]
        moved = acked - sum(d.end - d.start for d in damages if d.end <= acked)
        for damage in damages:
            self.set_aside(number, damage, data[damage.start : damage.end])
        if damages:
            _rewrite(self.path(number), data, damages)
        ends, size_bytes = [], 0
        for record in records:
            size_bytes += record.size_bytes
            ends.append(size_bytes)
        first_us = records[0].appended_us if records else 0
        return Checked(number, size_bytes, tuple(ends), first_us), moved

    def set_aside(self, number: int, damage: Damage, data: bytes) -> None:
        """Keep damaged bytes for a person and say so; a torn end is only reported."""
        kind = "torn" if damage.torn else "damaged"
        if not damage.torn:
            with self._fresh(f"{number:020d}-{damage.start}").open("xb") as file:
                file.write(data)
        size_bytes = damage.end - damage.start
        place = f"offset {damage.start} of segment {number} of the spool {self.directory}"
        self._tell(kind, f"{size_bytes} bytes {kind} at {place}")

    def _fresh(self, stem: str) -> Path:
        names = itertools.chain(("",), (f".{number}" for number in itertools.count(1)))
        paths = (self.directory / f"{stem}{name}.damaged" for name in names)
        return next(path for path in paths if not path.exists())


def _rewrite(path: Path, data: bytes, damages: list[Damage]) -> None:
    """Replace a segment by what is good of it, in one step."""
    kept, at = [], 0
    for damage in damages:
        kept.append(data[at : damage.start])
        at = damage.end
    kept.append(data[at:])
    clean = path.with_suffix(".tmp")
    clean.write_bytes(b"".join(kept))
    clean.replace(path)
