"""The header ``grpc-timeout``: up to eight digits and a unit."""

from __future__ import annotations

from typing import Final

from tollkeeper.unary.status import CallFailed, Code

MAX_DIGITS: Final = 8
MAX_REMEMBERED: Final = 64
_UNITS_S: Final = {
    ord("H"): 3600.0,
    ord("M"): 60.0,
    ord("S"): 1.0,
    ord("m"): 1e-3,
    ord("u"): 1e-6,
    ord("n"): 1e-9,
}


class Timeouts:
    """Reads timeouts; the few that a client really sends are remembered."""

    def __init__(self) -> None:
        self._known: dict[bytes, float] = {}

    def read(self, value: bytes) -> float:
        """Seconds; raises :class:`CallFailed` for what is no timeout."""
        known_s = self._known.get(value)
        if known_s is not None:
            return known_s
        digits, unit_s = value[:-1], _UNITS_S.get(value[-1]) if value else None
        if unit_s is None or not digits.isdigit() or len(digits) > MAX_DIGITS:
            raise CallFailed(Code.INTERNAL, "that grpc-timeout cannot be read")
        read_s = int(digits) * unit_s
        if len(self._known) < MAX_REMEMBERED:
            self._known[value] = read_s
        return read_s
