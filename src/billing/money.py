"""Money as whole nano-USD.

Every amount in Tollkeeper is an ``int`` of nano-USD (10^-9 USD). People see *credits*: one credit
is 0.001 USD, that is 1 000 000 nano-USD. No float ever touches an amount; text is read digit by
digit.

Rounding happens once per request, upwards, in :func:`ceil_div`, so that a price is never below the
cost that it covers and two computations of the same price agree to the last nano.
"""

from __future__ import annotations

import re

NANOS_PER_USD = 1_000_000_000
NANOS_PER_CREDIT = 1_000_000
MAX_NANOS = 2**62
"""Largest magnitude of any amount or balance: half of ``bigint``, so two below it add up within."""

MAX_OVERDRAFT_NANOS = 2**61
"""Largest overdraft: with it a balance at its largest still fits ``bigint``."""

# Not \d, which takes the digits of every script.
_DECIMAL = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]{1,13})(?:\.(?P<fraction>[0-9]{1,9}))?")


class MoneyError(ValueError):
    """An amount that cannot be represented: not a decimal, below a nano-USD, or out of range."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide two integers and round towards positive infinity; the one rounding of a price."""
    assert denominator > 0, "a price is never divided by zero or a negative number"
    return -(-numerator // denominator)


def checked_nanos(amount_nanos: int) -> int:
    """Return the amount if it lies within ``MAX_NANOS``, else raise :class:`MoneyError`."""
    if not -MAX_NANOS <= amount_nanos <= MAX_NANOS:
        raise MoneyError(f"{amount_nanos} nano-USD is outside of what the ledger can hold")
    return amount_nanos


def parse_usd(text: str) -> int:
    """Read a decimal number of USD, such as ``25.00``, as nano-USD.

    At most nine decimals and thirteen digits before the point; anything else, an exponent included,
    raises :class:`MoneyError` with what to write instead.
    """
    return _parse_decimal(text, NANOS_PER_USD, "USD")


def parse_credits(text: str) -> int:
    """Read a decimal number of credits, such as ``1.5``, as nano-USD; below a nano is refused."""
    return _parse_decimal(text, NANOS_PER_CREDIT, "credits")


def _parse_decimal(text: str, scale: int, unit: str) -> int:
    found = _DECIMAL.fullmatch(text.strip())
    if found is None:
        raise MoneyError(f"{text!r} is not an amount of {unit}; write digits such as 25 or 25.00")
    fraction = (found["fraction"] or "").ljust(9, "0")
    scaled = (int(found["whole"]) * 10**9 + int(fraction)) * scale
    if scaled % 10**9:
        raise MoneyError(f"{text!r} {unit} is finer than one nano-USD")
    amount_nanos = checked_nanos(scaled // 10**9)
    return -amount_nanos if found["sign"] else amount_nanos


def format_usd(amount_nanos: int) -> str:
    """Write nano-USD as USD with all nine decimals, exactly."""
    return _format(amount_nanos, NANOS_PER_USD, 9)


def format_credits(amount_nanos: int) -> str:
    """Write nano-USD as credits with six decimals, exactly."""
    return _format(amount_nanos, NANOS_PER_CREDIT, 6)


def _format(amount_nanos: int, scale: int, decimals: int) -> str:
    sign = "-" if amount_nanos < 0 else ""
    whole, fraction = divmod(abs(amount_nanos), scale)
    return f"{sign}{whole}.{fraction:0{decimals}d}"
