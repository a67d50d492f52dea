"""One access-log entry as values: the same whether it came by the stream or out of a log file.

The spool keeps these values and not the wire's messages, so that a spool written by one version can
be read by the next. Fields may only ever be added at the end, with a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

TICKET_NAMESPACE = "envoy.filters.http.ext_authz"
TICKET_KEY = "ticket"
USAGE_NAMESPACE = "tollkeeper.usage"

USAGE_FIELDS = frozenset(
    {
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "model",
        "cpu_ms",
        "memory_mib",
        "reported_cost",
    }
)
"""What an answer may name of its usage (:class:`billing.meters.values.Usage`); no more is kept."""

MAX_TEXT_CHARS = 256
"""Longest text kept of what an upstream or a client wrote: names and numbers are far shorter."""

MAX_INT = 2**63 - 1
NOT_A_SCALAR = "(not a scalar)"
NOT_FINITE = "(not a finite number)"

Scalar = str | int | float | bool | None


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What happened to one request, as far as settlement needs it.

    ``ticket`` is the text that the front door signed. ``usage`` holds fields of ``USAGE_FIELDS``,
    still unchecked. ``code`` is the HTTP status, 0 when no answer began. ``flags`` is a set of
    :mod:`accesslog.flags`. ``attempts`` is how often the upstream was tried, 0 for never.
    ``ongoing`` marks an entry of a request that has not ended. Bytes are those of the bodies;
    ``duration_ms`` runs from the first byte in to the last byte out, rounded down; ``started_us``
    is Envoy's clock in Unix microseconds. ``request_id`` may be the client's choice: never a key.
    """

    ticket: str
    usage: dict[str, Any]
    code: int
    flags: int
    attempts: int
    ongoing: bool
    request_bytes: int
    response_bytes: int
    duration_ms: int
    started_us: int
    request_id: str
    details: str = ""

    @property
    def completed_us(self) -> int:
        """When the last byte went out, by Envoy's clock, to the millisecond."""
        return self.started_us + self.duration_ms * 1000

    @property
    def reports_usage(self) -> bool:
        """Whether the answer named any number; the model's name alone is none."""
        usage = self.usage
        return len(usage) > 1 or (len(usage) == 1 and "model" not in usage)


def normal_scalar(value: object) -> Scalar:
    """Bring a value of the wire or of JSON to one form, so that both sources agree.

    A double that is a whole number becomes an ``int``; what is neither text, number nor truth value
    becomes a text that no meter reads as a number; text is cut to ``MAX_TEXT_CHARS``.
    """
    if isinstance(value, float):
        return _normal_float(value)
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARS]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -MAX_INT <= value <= MAX_INT else _normal_float(_as_float(value))
    return NOT_A_SCALAR


def normal_usage(found: Mapping[str, object]) -> dict[str, Any]:
    """Keep the known fields that have a value."""
    usage = {}
    for name, value in found.items():
        if name in USAGE_FIELDS and value is not None:
            usage[name] = normal_scalar(value)
    return usage


def _normal_float(value: float) -> Scalar:
    if value.is_integer() and -MAX_INT <= value <= MAX_INT:
        return int(value)
    return value if math.isfinite(value) else NOT_FINITE


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
