"""A circuit breaker: after repeated faults nobody waits for a part that is away.

Closed, all calls pass. After ``faults_to_open`` faults in a row it opens, and calls fail at once.
Every ``probe_s`` one call may try; its success closes the breaker.
"""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """``clock`` gives monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float], faults_to_open: int = 3, probe_s: float = 0.5
    ) -> None:
        self._clock = clock
        self._faults_to_open = faults_to_open
        self._probe_s = probe_s
        self._faults = 0
        self._next_probe = 0.0

    @property
    def is_open(self) -> bool:
        return self._faults >= self._faults_to_open

    def lets_pass(self) -> bool:
        """May this call try? While open, one per ``probe_s`` may."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._probe_s
        return True

    def succeeded(self) -> None:
        """A call was answered."""
        self._faults = 0

    def failed(self) -> None:
        """A call was not answered in time."""
        self._faults += 1
        if self._faults == self._faults_to_open:
            self._next_probe = self._clock() + self._probe_s
