"""What people are told, without drowning them: the same thing at most once in a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

QUIET_S = 10.0
"""How long a kind of notice is kept quiet after it was told."""

MAX_KINDS = 1_000


class Told(str):
    """What is told, and in ``about`` whom it concerns: ids of a request and of its account."""

    __slots__ = ("about",)
    about: Mapping[str, str]

    def __new__(cls, text: str, about: Mapping[str, str]) -> Self:
        """A text that knows what it is about."""
        told = super().__new__(cls, text)
        told.about = about
        return told


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

    def tell(self, kind: str, text: str, **about: str) -> None:
        """Tell it, or count it; the next that is told says how many were not.

        ``about`` are ids (``request_id``, ``account``) for whoever reads by machine.
        """
        now_s = self._clock()
        told_s = self._told.get(kind)
        if told_s is not None and now_s - told_s < self._quiet_s:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return
        assert len(self._told) < MAX_KINDS, "kinds are words of the program, never of its input"
        self._told[kind] = now_s
        more = self._kept_back.pop(kind, 0)
        rest = f" ({more} more since the last notice)" if more else ""
        self._report(Told(f"{kind}: {text}{rest}", about))
