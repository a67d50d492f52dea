"""The connections of a server, and what is counted of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from tollkeeper.direct.frames import ErrorCode

log = structlog.get_logger("direct")

QUIET_S = 10.0
"""Peers that break the protocol come by the thousand; one in so many seconds is logged."""


class Peer(Protocol):
    """One connection."""

    @property
    def busy(self) -> bool:
        """Whether calls are in hand."""

    def go_away(self) -> None:
        """Ask the peer to begin nothing more."""

    def close(self) -> None:
        """End it."""

    def look(self, now_s: float) -> None:
        """Give up what takes too long."""


class Roll:
    """All peers of a server, at most ``max_peers``; ``refused`` came when it was full, and
    ``broken`` counts by error code those that broke the protocol."""

    def __init__(self, max_peers: int, now_s: Callable[[], float]) -> None:
        self._max_peers = max_peers
        self._now_s = now_s
        self._peers: set[Peer] = set()
        self._loud_from_s = -math.inf
        self.refused = 0
        self.broken: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._peers))

    def enter(self, peer: Peer) -> bool:
        """Take a peer in; False when there are too many."""
        if len(self._peers) >= self._max_peers:
            self.refused += 1
            return False
        self._peers.add(peer)
        return True

    def leave(self, peer: Peer) -> None:
        """A peer is gone."""
        self._peers.discard(peer)

    def broke_off(self, code: ErrorCode, why: str) -> None:
        """Count a peer that broke the protocol."""
        self.broken[code.name] += 1
        now_s = self._now_s()
        if now_s >= self._loud_from_s:
            self._loud_from_s = now_s + QUIET_S
            log.warning("a connection was broken off", code=code.name, why=why)
