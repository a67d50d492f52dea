"""Numbers that come from outside, read exactly or not at all.

Token counts, CPU times and costs arrive as whatever a client or an upstream wrote: Envoy hands JSON
numbers on as doubles, headers as text. A reading is a whole number or an exact decimal fraction,
never negative, never above ``MAX_READING``; anything else is :class:`Unreadable`, with the reason.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import NamedTuple

from billing.refusals import Refusal, refuse

MAX_READING = 2**53
"""Largest number that is believed: above it a double no longer tells whole numbers apart."""

MAX_DECIMALS = 40 + 99
"""Most decimals of a text that is read: those it writes, moved by its exponent."""

SHOWN_CHARS = 64
"""How much of a client's text an answer repeats."""

# Digits only: `Decimal` itself would take "NaN", "1_000" and digits of other scripts.
_DECIMAL = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that is no usable number; ``reason`` says which one and what was wrong."""

    reason: str


class Exact(NamedTuple):
    """A decimal number without loss: ``numerator / denominator``, the denominator above zero."""

    numerator: int
    denominator: int

    def above(self, numerator: int, denominator: int) -> bool:
        """Say whether the number is greater than ``numerator / denominator``."""
        return self.numerator * denominator > numerator * self.denominator

    def __str__(self) -> str:
        """The number as a decimal, exactly."""
        decimals = next(n for n in range(MAX_DECIMALS + 1) if not 10**n % self.denominator)
        return scaled(self.numerator * 10**decimals // self.denominator, decimals)


ZERO = Exact(0, 1)


def read_whole(name: str, value: object) -> int | Unreadable:
    """Read a whole number from 0 to ``MAX_READING``; a double such as 3.0 counts, text does not."""
    if type(value) is int and 0 <= value <= MAX_READING:
        return value
    if value is None:
        return Unreadable(f"{name} missing")
    if not isinstance(value, int) and isinstance(value, Real) and value % 1 == 0:
        value = math.trunc(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return Unreadable(f"{name} is not a whole number")
    if value < 0:
        return Unreadable(f"{name} is negative")
    if value > MAX_READING:
        return Unreadable(f"{name} is above {MAX_READING}")
    return value


def read_exact(name: str, value: object) -> Exact | Unreadable:
    """Read a decimal number from 0 to ``MAX_READING`` out of a number or of a header's text.

    Text is at most 20 digits, 40 decimals and an exponent of two digits (``0.000123``,
    ``1.5e-05``). A double is read as the shortest text that stands for it, which is what its sender
    wrote. ``NaN``, infinities, lists of values and signs other than a minus are unreadable.
    """
    if value is None:
        return Unreadable(f"{name} missing")
    number = _number(value)
    if number is None:
        return Unreadable(f"{name} is not a decimal number")
    if number < 0:
        return Unreadable(f"{name} is negative")
    if number > MAX_READING:
        return Unreadable(f"{name} is above {MAX_READING}")
    return Exact(*number.as_integer_ratio())


def _number(value: object) -> int | Decimal | None:
    if isinstance(value, bool):
        return None  # JSON's true is no 1
    if isinstance(value, int):
        return value
    # A double is never reckoned with: only its text is read.
    text = repr(value) if isinstance(value, Real) else value
    if not isinstance(text, str) or _DECIMAL.fullmatch(text.strip(" \t")) is None:
        return None
    return Decimal(text)


def asked_whole(field: str, value: object, *, default: int, limit: int) -> int | Refusal:
    """What a client asked for, 1 to ``limit``; ``default`` when left out or JSON ``null``."""
    if value is None:
        return default
    found = read_whole(field, value)
    if isinstance(found, Unreadable) or not 1 <= found <= limit:
        reason = f"{field} must be a whole number from 1 to {limit}"
        return refuse("bad_request_body", reason, field=field, limit=limit)
    return found


def shown(text: str) -> str:
    """A client's text as an answer may repeat it: short, ASCII, without control characters."""
    return ascii(text[:SHOWN_CHARS])[1:-1]


def scaled(value: int, decimals: int) -> str:
    """Write an integer that counts 10^-decimals as a decimal, without trailing zeros."""
    whole, fraction = divmod(value, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}".rstrip("0").rstrip(".")
