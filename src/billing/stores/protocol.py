"""The ports of billing, in domain words. Real implementations: Postgres is the truth, Redis the hot
copy; memory ones serve unit tests and the model.

Every method may raise :class:`billing.errors.StoreUnavailable` when its server does not answer
within the deadline that the implementation was given; nothing else escapes.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from billing.lease_calls import LeaseCall, Leased
from billing.ledger import SettledBatch, Settlement
from billing.reservations import Admitted, Hold, JournalRow, Publication, Short, Truth
from billing.subscriptions import Principal

ChangeKind = Literal["account", "key", "subscription", "balance", "barrier", "lost", "epoch"]


class Change(NamedTuple):
    """Something changed in Postgres. ``lost`` says that the connection that tells of changes broke,
    so any of them may have been missed; ``account_id`` is empty then."""

    kind: ChangeKind
    account_id: str = ""
    detail: str = ""


class PrincipalStore(Protocol):
    """Who a key belongs to."""

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        """The principals of those keys that exist; one query for all of them."""

    def changes(self) -> AsyncIterator[Change]:
        """What changes from now on, until the caller stops; reconnects by itself, telling
        ``lost``."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The hot copy has no usable copy of the account.

    With ``mine`` the asker holds the right to load it, under ``token``; else another is loading.
    """

    mine: bool
    token: str


class HotStore(Protocol):
    """The hot copy: live reservations and the balance as of a version of Postgres."""

    async def admit(self, epoch: int, holds: Sequence[Hold]) -> Sequence[Admitted | Short | Absent]:
        """Hold all budgets of each request, all or nothing, in one round trip; same order."""

    async def tend(self, epoch: int, calls: Sequence[LeaseCall]) -> Sequence[Leased | None]:
        """Open, top up and close leases in one round trip; a call that was made is not made again.

        ``None`` for a lease that is not there (any more), and for one that was not granted.
        """

    async def load(self, epoch: int, copies: Sequence[tuple[str, Truth]]) -> Sequence[bool]:
        """Build copies under the tokens that :class:`Absent` gave; False where the right was
        lost."""

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Tell what Postgres says and which reservations have ended; idempotent, in any order."""

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of reservations: account, reservation, Unix seconds."""

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Truth]:
        """What the hot copy holds of these accounts, for checks and for people."""

    async def drop(self, account_ids: Sequence[str]) -> None:
        """Forget copies, so that the next request of each account builds one from the truth."""


class QuarantineRow(NamedTuple):
    """An entry that cannot be settled and must not be lost; ``reason`` is of a bounded set of
    words."""

    account_id: str | None
    reservation_id: str | None
    reason: str
    entry: str

    def digest(self) -> bytes:
        """What makes two entries of one reason the same."""
        text = f"{self.account_id} {self.reservation_id} {self.entry}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


class LedgerStore(Protocol):
    """The truth about money."""

    async def settle(self, settlements: Sequence[Settlement], now_us: int) -> SettledBatch:
        """End reservations and post their transfers, in one transaction; ids must be distinct."""

    async def expire(self, now_us: int, at_most: int) -> SettledBatch:
        """End pending reservations whose lifetime is over; at most so many at a time."""

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of pending reservations: account, reservation, Unix seconds."""

    async def quarantine(self, rows: Sequence[QuarantineRow]) -> None:
        """Keep entries that cannot be settled, each content once per reason."""


class TruthStore(Protocol):
    """What the hot copy is built from, and what it is still owed."""

    async def truth(self, account_ids: Sequence[str], now_s: float) -> Mapping[str, Truth]:
        """Accounts as one snapshot has them, pending reservations included."""

    async def promises(
        self, older_than_s: float, at_most: int, now_s: float
    ) -> Mapping[int, Sequence[Publication]]:
        """Batches that were committed and never told of, with what to tell now, in full."""

    async def kept(self, batch_ids: Sequence[int]) -> None:
        """The hot copy was told of these batches."""


class Epoch(NamedTuple):
    """Which build of the hot copy is in force, and which running Redis it belongs to."""

    number: int
    identity: str


class WorkerStore(Protocol):
    """One worker of the front door in Postgres: its journal, the barrier, the epoch."""

    async def register(self) -> None:
        """Enter the list of workers, so that others wait for this one's journal."""

    async def heartbeat(self) -> None:
        """Say that this worker lives."""

    async def leave(self) -> None:
        """Leave the list; the journal must be flushed by then."""

    async def record(self, rows: Sequence[JournalRow]) -> None:
        """Write reservations as pending; those already known, or ended, stay as they are."""

    async def abandon(self, keys: Sequence[tuple[str, str]]) -> None:
        """Let pending reservations (account, id) end with the next expiry."""

    async def flushed(self, at: str) -> None:
        """All that this worker admitted before the barrier of that time is journaled."""

    async def barrier(self, timeout_s: float) -> None:
        """Wait until every other live worker has flushed what it admitted before now.

        Raises ``StoreUnavailable`` when one does not within ``timeout_s``.
        """

    async def epoch(self) -> Epoch:
        """The epoch in force."""

    async def raise_epoch(self, seen: Epoch, identity: str, reason: str) -> Epoch:
        """Declare all copies void; of several workers that see the same, one does it."""

    async def chain_end(self) -> int:
        """The id of the last batch of the ledger."""
