"""Up to where each log file was replayed, in a small file beside it.

A file is known by its first line, which holds a ticket and a time and so is never the same twice.
So the place is found again after the file was renamed or compressed by rotation. The last line that
was done is kept too, as a digest: when another one stands there, the file is replayed from its
start, which the ledger's own knowledge makes harmless.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

FILE_NAME = ".tollkeeper-replay.json"


class Bookmark(msgspec.Struct, frozen=True):
    """A place in a file: the offset after the last line that was done, the next line's number.

    ``line_bytes`` and ``digest`` are of that last line, its end included; ``name`` is for people.
    """

    offset: int = 0
    number: int = 1
    line_bytes: int = 0
    digest: str = ""
    name: str = ""


START = Bookmark()


class Bookmarks:
    """The bookmarks of one directory; the newest ``most`` are kept."""

    def __init__(self, directory: Path, most: int) -> None:
        self._path = directory / FILE_NAME
        self._most = most

    def find(self, key: str) -> Bookmark:
        """The place in a file, or its start; a bookmark file that cannot be read is none."""
        return self._read().get(key, START)

    def keep(self, key: str, bookmark: Bookmark) -> None:
        """Note a place, replacing the file in one step; raises ``OSError``."""
        known = self._read()
        known.pop(key, None)
        known[key] = bookmark
        newest = dict(list(known.items())[-self._most :])
        fresh = self._path.with_name(f"{FILE_NAME}.{key[:16]}")
        fresh.write_bytes(msgspec.json.encode(newest))
        fresh.replace(self._path)

    def _read(self) -> dict[str, Bookmark]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Bookmark])
        except (OSError, msgspec.DecodeError):
            return {}


def digest(line: bytes) -> str:
    """What a line is known by."""
    return hashlib.blake2b(line, digest_size=16).hexdigest()
