"""A map that never grows past its bound.

It is split into segments by the first byte of the key. Python's dicts grow by copying themselves
and are slow to find their oldest entry after many removals; in a segment of some thousand entries
neither takes longer than a few tens of microseconds, however large the whole is.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Value = TypeVar("Value")

MAX_SEGMENTS = 256
ENTRIES_OF_A_SEGMENT = 4_096


class BoundedMap(Generic[Value]):
    """Maps bytes (hashes: their first byte must be evenly spread) to values, at most ``limit``.

    A full segment drops its oldest entry for a new one. ``evicted`` counts those. An entry is as
    old as its last :meth:`put` or :meth:`touch`.
    """

    __slots__ = ("_limit", "_mask", "_segments", "evicted")

    def __init__(self, limit: int) -> None:
        assert limit >= 1, limit
        count = 1
        while count < MAX_SEGMENTS and limit // count > ENTRIES_OF_A_SEGMENT:
            count *= 2
        self._segments: list[dict[bytes, Value]] = [{} for _ in range(count)]
        self._mask = count - 1
        self._limit = max(1, limit // count)
        self.evicted = 0

    def __len__(self) -> int:
        return sum(len(segment) for segment in self._segments)

    def get(self, key: bytes) -> Value | None:
        """The value of a key, without making it any younger."""
        return self._segments[key[0] & self._mask].get(key)

    def put(self, key: bytes, value: Value) -> None:
        """Set a value and make it the youngest."""
        segment = self._segments[key[0] & self._mask]
        segment.pop(key, None)
        if len(segment) >= self._limit:
            del segment[next(iter(segment))]
            self.evicted += 1
        segment[key] = value

    def touch(self, key: bytes) -> None:
        """Make a key the youngest, if it is there."""
        segment = self._segments[key[0] & self._mask]
        value = segment.pop(key, None)
        if value is not None:
            segment[key] = value

    def discard(self, key: bytes) -> None:
        """Forget a key, if it is there."""
        self._segments[key[0] & self._mask].pop(key, None)

    def clear(self) -> None:
        """Forget everything; the count of evictions stays."""
        for segment in self._segments:
            segment.clear()
