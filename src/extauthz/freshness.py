"""How far what was read from Postgres can still be believed.

Changes are told by a stream. What was read while it listened is *fresh* as long as it told nothing
against it. When the stream breaks (``lost``) any change may be missed: what was read before is
*stale*, usable for a bounded time while Postgres cannot be asked. What the stream told to have
changed is *gone*: it is known to be wrong and never served again. What is read while nobody listens
lives a second at a time.

Time is cut into epochs by the breaks. An entry remembers its epoch; of a past epoch only its end
has to be remembered, so a break costs the same however many entries there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from billing.stores.protocol import Change
from extauthz.limits import DirectoryLimits

Belief = Literal["fresh", "stale", "gone"]
TELLING_KINDS = frozenset({"account", "key", "subscription"})
"""Changes of what a principal is; the others are about balances and the stream itself."""


class Stamp(NamedTuple):
    """When something was read: after which change, in which epoch, whether changes were heard, and
    the time of the clock."""

    sequence: int
    epoch: int
    listening: bool
    read_s: float


class Freshness:
    """Judges stamps by what the stream of changes told since.

    ``now_s`` is a clock that never goes back. ``version`` moves with everything that was told, so
    whoever judged an entry need not judge it again until it moves. ``lost_s`` is when the stream
    broke last.
    """

    def __init__(self, limits: DirectoryLimits, now_s: Callable[[], float]) -> None:
        self._limits = limits
        self._now_s = now_s
        self._sequence = 0
        self._floor = 0
        self._changed: dict[str, int] = {}
        self._epoch = 0
        self._ends_s: dict[int, float] = {}
        self._silent_s: float | None = None
        self.listening = False
        self.lost_s = now_s()
        self.version = 0

    def stamp(self) -> Stamp:
        """The stamp for what is read from now on; take it before the query is sent."""
        return Stamp(self._sequence, self._epoch, self.listening, self._now_s())

    def tell(self, change: Change) -> None:
        """Take note of one change; ``lost`` with the detail ``back`` says that it listens again."""
        if change.kind == "lost":
            self._lose()
            self.listening = change.detail == "back"
        elif change.kind in TELLING_KINDS:
            self._change(change.account_id)

    def answered(self) -> None:
        """Take note that Postgres answered a query."""
        self._silent_s = None

    def unanswered(self) -> None:
        """Take note that Postgres did not answer a query; the first one begins the silence."""
        if self._silent_s is None:
            self._silent_s = self._now_s()

    def fresh_until_s(self, stamp: Stamp) -> float:
        """When an entry stops being sure, provided that nothing is told before."""
        if not stamp.listening:
            return stamp.read_s + self._limits.recheck_s
        if stamp.epoch != self._epoch:
            return self._ends_s.get(stamp.epoch, -math.inf)
        return stamp.read_s + self._limits.max_age_s

    def judge(self, stamp: Stamp, account_id: str) -> Belief:
        """What an entry of that account is worth now."""
        if stamp.sequence < max(self._floor, self._changed.get(account_id, 0)):
            return "gone"
        now_s, since_s = self._now_s(), self.fresh_until_s(stamp)
        if now_s < since_s:
            return "fresh"
        if stamp.listening and stamp.epoch == self._epoch:
            # It is due to be read again by its age alone, and the stream still says nothing against
            # it: it is as good as fresh for as long as Postgres can be asked.
            since_s = max(since_s, now_s if self._silent_s is None else self._silent_s)
        return "stale" if now_s - since_s < self._limits.stale_max_s else "gone"

    def _change(self, account_id: str) -> None:
        self._sequence += 1
        self.version += 1
        self._changed[account_id] = self._sequence
        if not account_id or len(self._changed) > self._limits.max_changed:
            self._floor = self._sequence
            self._changed.clear()

    def _lose(self) -> None:
        now_s = self._now_s()
        useful_s = now_s - self._limits.stale_max_s
        self._ends_s = {epoch: end for epoch, end in self._ends_s.items() if end >= useful_s}
        self._ends_s[self._epoch] = now_s
        self._epoch += 1
        self.version += 1
        self.lost_s = now_s
