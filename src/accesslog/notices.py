"""What people are told, without drowning them: the same thing at most once in a while."""

from __future__ import annotations

from collections.abc import Callable

QUIET_S = 10.0
"""How long a kind of notice is kept quiet after it was told."""

MAX_KINDS = 1_000


class Notices:
    """Passes notices on to ``report``; ``clock`` gives monotonic seconds."""

    def __init__(
        self, report: Callable[[str], None], clock: Callable[[], float], quiet_s: float = QUIET_S
    ) -> None:
        self._report = report
        self._clock = clock
        self._quiet_s = quiet_s
        self._told: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def tell(self, kind: str, text: str) -> None:
        """Tell it, or count it; the next that is told says how many were not."""
        now_s = self._clock()
        told_s = self._told.get(kind)
        if told_s is not None and now_s - told_s < self._quiet_s:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return
        assert len(self._told) < MAX_KINDS, "kinds are words of the program, never of its input"
        self._told[kind] = now_s
        more = self._kept_back.pop(kind, 0)
        self._report(f"{kind}: {text}" + (f" ({more} more since the last notice)" if more else ""))
