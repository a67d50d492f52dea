"""The shares of a hold in budgets, as few numbers: how the ticket carries them.

All terms ask for the same kinds of budgets, and what the shares hold follows from the request:
units what was quoted in units, period and day the credits that are held, flight one. So which kinds
there are, one window and one amount say as much as the text of a record does
(:func:`billing.reservations.write_shares`), in a tenth of its length.
"""

from __future__ import annotations

import msgspec

UNITS, PERIOD, DAY, FLIGHT = 1, 2, 4, 8
"""Kinds of counted budgets (:data:`billing.reservations.BUDGET_KINDS`), to be added up."""

DAY_S = 86_400
DAY_US = DAY_S * 1_000_000


class UsualShares(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a hold has of each kind of budget.

    ``kinds`` is the sum of those there are. ``period_start_s`` is the window of UNITS and PERIOD,
    Unix seconds (that of DAY is the day of the admission, FLIGHT has none). ``units`` is the amount
    of UNITS.
    """

    kinds: int
    period_start_s: int
    units: int

    def write(self, profile: str, held_nanos: int, admitted_us: int) -> str:
        """The shares as a record says them."""
        kinds, start_s, held = self.kinds, str(self.period_start_s), str(held_nanos)
        units = f"|units:{profile}~{start_s}~{self.units}" if kinds & UNITS else ""
        period = f"|period:{profile}~{start_s}~{held}" if kinds & PERIOD else ""
        day = f"|day:{profile}~{admitted_us // DAY_US * DAY_S}~{held}" if kinds & DAY else ""
        flight = f"|flight:{profile}~0~1" if kinds & FLIGHT else ""
        return f"{units}{period}{day}{flight}"
