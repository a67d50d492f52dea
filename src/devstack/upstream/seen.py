"""What really happened here, counted by path: the other side of an exact comparison."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

MAX_NOTED = 1_000_000
"""Answers noted one by one; the oldest are forgotten first."""


@dataclass(slots=True)
class Count:
    """One path's requests by how they ended, and what the answered ones add up to.

    ``received = answered + failed + hung_up + cut + under way``. ``answered`` were written to the
    last byte; ``failed`` with an error status; ``hung_up`` on instruction; ``cut`` by the other
    side. Tokens and calls are those of answered requests.
    """

    received: int = 0
    answered: int = 0
    failed: int = 0
    hung_up: int = 0
    cut: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Noted(NamedTuple):
    """One answer that was written to its last byte: the text to note it by, for which request and
    account, and when (Unix seconds)."""

    text: str
    request_id: str
    account: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Ending:
    """How one request may end, once: what to count then, and who hears that it was answered."""

    count: Count
    failing: bool = False
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    answered: Callable[[], None] | None = None

    def complete(self) -> None:
        """The whole answer was written."""
        if self.failing:
            self.count.failed += 1
            return
        self.count.answered += 1
        if self.answered is not None:
            self.answered()
        self.count.calls += self.calls
        self.count.prompt_tokens += self.prompt_tokens
        self.count.completion_tokens += self.completion_tokens

    def hung_up(self) -> None:
        """We closed the connection, as told."""
        self.count.hung_up += 1

    def cut(self) -> None:
        """The other side closed the connection before the answer was whole."""
        self.count.cut += 1


class Seen:
    """Counts by path, and the target and headers of the last request of each."""

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._noted: deque[Noted] = deque(maxlen=MAX_NOTED)

    def count(self, path: str) -> Count:
        """The counts of a path that is served; the caller bounds the paths."""
        return self._counts.setdefault(path, Count())

    def remember(self, path: str, target: str, headers: dict[str, str]) -> None:
        self._last[path] = {"target": target, "headers": headers}

    def note(self, text: str, headers: dict[str, str], at_s: float) -> None:
        """Remember one answer by the ids that the gateway gave its request."""
        request_id = headers.get("x-request-id", "")
        account = headers.get("x-tollkeeper-account", "")
        self._noted.append(Noted(text, request_id, account, at_s))

    def noted_as_json(self) -> list[Noted]:
        return list(self._noted)

    def as_json(self) -> dict[str, Any]:
        return {
            "routes": {path: asdict(count) for path, count in self._counts.items()},
            "last": self._last,
        }

    def reset(self) -> None:
        self._counts.clear()
        self._last.clear()
        self._noted.clear()
