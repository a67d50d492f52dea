"""When to leave a server alone: pure, told of every answer and every fault."""

from __future__ import annotations


class Breaker:
    """Closed, calls go through. So many faults in a row open it; only a probe closes it again,
    so no request ever has to find out.
    """

    def __init__(self, faults_to_open: int) -> None:
        self._faults_to_open = faults_to_open
        self._faults = 0
        self.open = False
        self.opened = 0  # how often so far, for metrics

    def answered(self) -> None:
        """A call was answered in time."""
        self._faults = 0

    def failed(self) -> bool:
        """A call was not; True when that opened the breaker."""
        self._faults += 1
        if self.open or self._faults < self._faults_to_open:
            return False
        self.open = True
        self.opened += 1
        return True

    def probed(self) -> None:
        """A probe was answered: calls may go through again."""
        self._faults = 0
        self.open = False
