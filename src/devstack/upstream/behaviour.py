"""How one answer is to misbehave: told by ``x-example-*`` headers of the request, or in advance.

=============================  ===================================================================
``x-example-delay-ms``         wait before the first byte
``x-example-chunk-delay-ms``   wait before each chunk of a stream
``x-example-status``           fail with this status
``x-example-hang-up-after``    close the connection after so many chunks (0: before any byte); an
                               answer that is no stream is cut in its middle from 1 on
``x-example-tokens``           completion tokens of each choice, so chunks of a stream
``x-example-cached-tokens``    how many of the prompt's tokens count as cached
``x-example-usage``            ``none``, ``negative``, ``text``, or the JSON object to report
``x-example-cost``             text of the cost header, or ``none`` to leave it out
``x-example-tool-report``      ``none`` leaves the headers of a tool run out
``x-example-bytes``            pad the answer to at least so many bytes
``x-example-note``             note the answer, by this text and its ids; ``GET /_noted`` tells
=============================  ===================================================================

In advance: ``POST /_behave`` with ``{"path": "/rpc/ethereum", "times": 3, "status": 500}``; the
names are those of the headers without ``x-example-`` and with underscores. Headers win.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

PREFIX = "x-example-"
MAX_DELAY_MS = 600_000
MAX_TOKENS = 1_000_000
MAX_BYTES = 64 << 20

_BOUNDS = {
    "delay_ms": (0, MAX_DELAY_MS),
    "chunk_delay_ms": (0, MAX_DELAY_MS),
    "status": (400, 599),
    "hang_up_after": (0, MAX_TOKENS),
    "tokens": (0, MAX_TOKENS),
    "cached_tokens": (0, MAX_TOKENS),
    "bytes": (0, MAX_BYTES),
}


class BadBehaviour(ValueError):
    """An instruction that this upstream does not know; says what it may be."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Instructions for one answer; the defaults are those of a well-behaved upstream."""

    delay_ms: int = 0
    chunk_delay_ms: int = 0
    status: int | None = None
    hang_up_after: int | None = None
    tokens: int | None = None
    cached_tokens: int = 0
    usage: str = ""
    cost: str = ""
    tool_report: str = ""
    note: str = ""
    bytes: int = 0

    @property
    def at_once(self) -> bool:
        """Whether the answer can be written whole without waiting for anything."""
        return self.delay_ms == 0 and self.hang_up_after is None


PLAIN = Behaviour()
_NAMES = frozenset(field.name for field in fields(Behaviour))


def from_headers(headers: Mapping[str, str], otherwise: Behaviour = PLAIN) -> Behaviour:
    """What the headers of a request ask for, on top of what was told in advance."""
    asked = {
        name.removeprefix(PREFIX).replace("-", "_"): value
        for name, value in headers.items()
        if name.startswith(PREFIX)
    }
    return _changed(otherwise, asked) if asked else otherwise


def from_json(told: Mapping[str, Any]) -> Behaviour:
    """What ``POST /_behave`` says, its ``path`` and ``times`` taken out."""
    return _changed(PLAIN, told)


def _changed(behaviour: Behaviour, asked: Mapping[str, Any]) -> Behaviour:
    if unknown := sorted(set(asked) - _NAMES):
        raise BadBehaviour(f"{unknown[0]} is not known; known are {', '.join(sorted(_NAMES))}")
    return replace(behaviour, **{name: _value(name, value) for name, value in asked.items()})


def _value(name: str, value: Any) -> Any:
    if name not in _BOUNDS:
        return value if isinstance(value, str) else json.dumps(value)
    low, high = _BOUNDS[name]
    if not str(value).isdecimal() or not low <= int(value) <= high:
        raise BadBehaviour(f"{name} is a whole number from {low} to {high}")
    return int(value)
