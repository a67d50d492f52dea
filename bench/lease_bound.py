"""A front door that admits from memory, as one would that held leases: a bound, not a product.

    python -m bench.lease_bound

It holds nothing anywhere, so nothing is safe; whatever real leases cost (their budgets, their
return) comes on top. What it saves is therefore the most that leases could save.
"""

from __future__ import annotations

from typing import Any

from billing.reservations import Admitted, Hold, JournalRow
from billing.reserver import Reserver
from tollkeeper.direct.serving import serve_direct
from tollkeeper.running import run, take_longer_turns
from tollkeeper.settings import load_settings
from tollkeeper.wiring import authz

LEFT_NANOS = 10**12


class Unbounded(Reserver):
    """Admits everything at once; journals it, so that it can be settled."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.draw = self._admit_anything

    def _admit_anything(self, hold: Hold, row: JournalRow) -> Admitted | None:  # noqa: ARG002
        self._journal.add(row)
        return Admitted(LEFT_NANOS)


if __name__ == "__main__":
    authz.Reserver = Unbounded  # type: ignore[misc]
    take_longer_turns()
    run(serve_direct(load_settings(), "authz", 0))
