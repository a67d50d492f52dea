"""A front door that admits from memory, as one would that held leases: a bound, not a product.

    python -m bench.lease_bound ADDRESS

It holds nothing anywhere, so nothing is safe; whatever real leases cost (their budgets, their
return) comes on top. What it saves is therefore the most that leases could save.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvloop

from bench.noop import serve_hosted
from billing.catalog import Posture
from billing.reservations import Admission, Admitted, Hold, JournalRow
from billing.reserver import Reserver
from tollkeeper.hosted.app import HostedApplication
from tollkeeper.running import take_longer_turns
from tollkeeper.settings import Settings
from tollkeeper.unary.roles import Served, open_authz
from tollkeeper.wiring import authz

LEFT_NANOS = 10**12


class Unbounded(Reserver):
    """Admits everything at once; journals it, so that it can be settled."""

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:  # noqa: ARG002
        self._journal.add(row)
        return Admitted(LEFT_NANOS)


@asynccontextmanager
async def open_unbounded(
    settings: Settings, worker: int, draining: Callable[[], bool]
) -> AsyncIterator[Served]:
    """The product's front door with that reserver."""
    authz.Reserver = Unbounded  # type: ignore[misc]
    async with open_authz(settings, worker, draining) as hosted:
        yield hosted


app = HostedApplication({"authz": open_unbounded})


if __name__ == "__main__":
    take_longer_turns()
    uvloop.run(serve_hosted(sys.argv[1], "bench.lease_bound:app"))
