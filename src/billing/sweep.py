"""Holds that nobody else would end: found in the hot copy past their life, and ended there.

Two crashes leave such holds. A settler that dies between its commit and its publication keeps a
promise in Postgres, which another one keeps for it; but a worker of the front door that dies
before it journaled leaves a hold that Postgres never heard of. It is entered there as pending, and
expires like any other.
A hold that Postgres knows to have ended, because Redis came back from an old state, is taken away.
A lease that nobody closed goes with its whole copy, which is built anew: what its holder admitted
from it and told nobody is over by then, or was extended and is journaled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter

from billing.errors import Unavailable
from billing.reservations import Publication, Truth, parse_record, publication_of


class Stray(NamedTuple):
    """A hold past its life: account, reservation, and the record that the hot copy has of it."""

    account_id: str
    reservation_id: str
    record: str


class SweptCopies(Protocol):
    """The hot copy, as the sweep needs it."""

    def accounts(self, at_most: int) -> AsyncIterator[Sequence[str]]:
        """The accounts that have a copy, in pieces."""

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        """What the copies hold."""

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Tell what has ended."""

    async def drop(self, account_ids: Sequence[str]) -> None:
        """Forget copies, which are built anew when they are asked for."""


class StrayStore(Protocol):
    """Postgres, as the sweep needs it."""

    async def adopt(self, strays: Sequence[Stray]) -> Sequence[Stray]:
        """Enter those that are unknown as pending; return those that have ended."""

    async def truth(self, account_ids: Sequence[str], now_s: float) -> Mapping[str, Truth]:
        """Accounts as one snapshot has them."""


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """``pause_s`` between two sweeps: strays are rare, and they are held credits, not lost ones.

    ``piece_accounts`` are read at once, which takes Redis a few milliseconds, with ``breath_s``
    between two pieces. ``grace_s`` is how long past its life a hold is left to its ordinary end.
    """

    pause_s: float = 300.0
    piece_accounts: int = 200
    breath_s: float = 0.02
    grace_s: float = 30.0


class Sweep:
    """``clock`` gives Unix seconds; ``report`` hears when a store does not answer."""

    def __init__(
        self,
        copies: SweptCopies,
        store: StrayStore,
        *,
        clock: Callable[[], float],
        report: Callable[[str], None],
        registry: CollectorRegistry,
        limits: SweepLimits | None = None,
    ) -> None:
        self._copies = copies
        self._store = store
        self._clock = clock
        self._report = report
        self._limits = limits or SweepLimits()
        self._found = Counter(
            "tollkeeper_stray_holds_total",
            "Holds past their life that only the hot copy knew, by what Postgres said of them; and "
            "leases that nobody closed.",
            ["state"],
            registry=registry,
        )

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                self._report(f"the sweep stopped early: {error}")
            await asyncio.sleep(self._limits.pause_s)

    async def sweep(self) -> int:
        """Go through all copies once; returns how many stray holds and leases were found."""
        found = 0
        async for accounts in self._copies.accounts(self._limits.piece_accounts):
            copies = await self._copies.read(accounts)
            strays, leases = self._strays(copies), self._leases(copies)
            if strays:
                await self._end(strays)
            if leases:
                await self._copies.drop(sorted({account for account, _ in leases}))
                self._found.labels("lease").inc(len(leases))
            found += len(strays) + len(leases)
            await asyncio.sleep(self._limits.breath_s)
        return found

    def _strays(self, copies: Mapping[str, Truth]) -> list[Stray]:
        before_s = self._clock() - self._limits.grace_s
        return [
            Stray(copy.account_id, ident, record)
            for copy in copies.values()
            for ident, record in copy.pending
            if parse_record(record).expires_s < before_s
        ]

    def _leases(self, copies: Mapping[str, Truth]) -> list[tuple[str, str]]:
        """Account and lease of what is past the life of the last request that was admitted from it.

        To close it alone would be wrong: a request whose life was extended meanwhile, or a holder
        whose clock is behind, is held by nothing else. A new copy has what is journaled.
        """
        before_s = self._clock() - self._limits.grace_s
        return [
            (copy.account_id, ident)
            for copy in copies.values()
            for ident, record in copy.leases
            if parse_record(record).expires_s < before_s
        ]

    async def _end(self, strays: Sequence[Stray]) -> None:
        """What has ended is removed; what is pending (now) is left to expire."""
        ended = await self._store.adopt(strays)
        self._found.labels("ended").inc(len(ended))
        self._found.labels("pending").inc(len(strays) - len(ended))
        by_account: dict[str, list[str]] = {}
        for stray in ended:
            by_account.setdefault(stray.account_id, []).append(stray.reservation_id)
        truths = await self._store.truth(list(by_account), self._clock())
        await self._copies.publish(
            [publication_of(truth, tuple(by_account[a])) for a, truth in truths.items()]
        )
