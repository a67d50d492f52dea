"""A circuit breaker: after repeated faults nobody waits for a part that is away.

Closed, all calls pass. ``faults_to_open`` faults in a row open it, and calls fail at once. Only a
probe closes it again: either one call per ``probe_s`` may try (``lets_pass``), or its owner probes
beside the calls, so that no request ever has to find out, and asks ``is_open`` alone.
"""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """``clock`` gives monotonic seconds; ``opened`` is how often it opened, for metrics."""

    def __init__(
        self, clock: Callable[[], float], faults_to_open: int = 3, probe_s: float = 0.5
    ) -> None:
        self.opened = 0
        self.is_open = False
        self._clock = clock
        self._faults_to_open = faults_to_open
        self._probe_s = probe_s
        self._faults = 0
        self._next_probe = 0.0

    def lets_pass(self) -> bool:
        """May this call try? While open, one per ``probe_s`` may, as a probe."""
        if not self.is_open:
            return True
        now = self._clock()
        if now < self._next_probe:
            return False
        self._next_probe = now + self._probe_s
        return True

    def answered(self) -> None:
        """A call was answered in time: faults count anew. A late answer to an old call closes
        nothing."""
        self._faults = 0

    def succeeded(self) -> None:
        """A probe was answered, or a call that might have been one: calls pass again."""
        self._faults = 0
        self.is_open = False

    def failed(self) -> bool:
        """A call was not answered in time; True when that opened the breaker."""
        self._faults += 1
        if self.is_open or self._faults < self._faults_to_open:
            return False
        self.is_open = True
        self.opened += 1
        self._next_probe = self._clock() + self._probe_s
        return True
