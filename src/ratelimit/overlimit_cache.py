"""Counters that are known to be over their limit: a flood against one of them needs no call."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple


class _Known(NamedTuple):
    capacity: int
    until_us: int  # no hit fits before
    expires_us: int


class OverLimitCache:
    """A bounded memory of who may not pass until when.

    An entry holds for the capacity that it was found with, so a limit that changes is asked
    about at once, and for ``ttl_us`` at most, because another worker may give hits back
    meanwhile. The oldest entry makes room for a new one; ``pushed_out`` counts how often.
    """

    def __init__(self, entries_max: int, ttl_us: int) -> None:
        self._entries_max = entries_max
        self._ttl_us = ttl_us
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.pushed_out = 0

    def __len__(self) -> int:
        return len(self._known)

    def blocked_us(self, key: str, capacity: int, now_us: int) -> int:
        """For how long not one hit fits, or 0 when that is not known."""
        known = self._known.get(key)
        if known is None or known.capacity != capacity:
            return 0
        if now_us >= known.expires_us or now_us < known.expires_us - self._ttl_us:
            del self._known[key]
            return 0
        return known.until_us - now_us

    def remember(self, key: str, capacity: int, now_us: int, wait_us: int) -> None:
        """Not one hit fits for so long."""
        if self._entries_max <= 0 or wait_us <= 0:
            return
        self._known.pop(key, None)
        if len(self._known) >= self._entries_max:
            self._known.popitem(last=False)
            self.pushed_out += 1
        expires_us = now_us + min(wait_us, self._ttl_us)
        self._known[key] = _Known(capacity, now_us + wait_us, expires_us)

    def forget(self, key: str) -> None:
        """Hits were given back."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """The rules changed."""
        self._known.clear()
