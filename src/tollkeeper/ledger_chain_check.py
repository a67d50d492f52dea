"""Invariants 1 and 8: each transfer's shape, and the hash chain computed anew, batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from billing.ledger import CHART, PLATFORM, LedgerCode, Transfer, chain_hash
from billing.money import MAX_NANOS
from billing.stores.postgres_access import Connection
from billing.stores.postgres_check import (
    BatchLines,
    Broken,
    ChainEnd,
    Checked,
    Pace,
    Totals,
    first_broken,
    hash_of_batch,
    read_batches,
)
from tollkeeper.ledger_report import Progress, Proof

CORRECTED = frozenset({"cash", "revenue"})
"""What a correction of a customer's credits may be booked against."""


@dataclass(slots=True)
class ChainWalk:
    """What a walk along the chain has seen so far."""

    batch_id: int
    hash: bytes
    totals: dict[LedgerCode, list[int]]
    transfers: int = 0
    batches: int = 0
    lines: int = 0
    misshapen: Broken | None = None
    unchained: Broken | None = None

    @classmethod
    def after(cls, checked: Checked) -> ChainWalk:
        """A walk that goes on where a check ended."""
        totals: dict[LedgerCode, list[int]] = defaultdict(lambda: [0, 0])
        totals.update({code: list(sums) for code, sums in checked.totals.items()})
        return cls(checked.batch_id, checked.hash, totals)

    def take(self, batch: BatchLines) -> None:
        """Judge the next batch; what is broken first is kept, and the walk goes on from it."""
        self.unchained = self.unchained or next(self._flaws(batch), None)
        self.misshapen = self.misshapen or next(
            (flaw for transfer in batch.transfers if (flaw := flaw_of(transfer))), None
        )
        for transfer in batch.transfers:
            self.totals[transfer.debit_code][0] += transfer.amount_nanos
            self.totals[transfer.credit_code][1] += transfer.amount_nanos
        self.batch_id, self.hash = batch.batch_id, batch.hash
        self.batches += 1
        self.transfers += len(batch.transfers)
        self.lines += len(batch.transfers) + len(batch.event_lines)

    def summed(self) -> Totals:
        """All debits and credits by code, from the first batch on."""
        return {code: (debits, taken) for code, (debits, taken) in self.totals.items()}

    def _flaws(self, batch: BatchLines) -> Iterator[Broken]:
        """How a batch differs from what the one before it and its own rows say."""
        row = f"batch {batch.batch_id}"
        if batch.batch_id != self.batch_id + 1:
            yield Broken(f"batch {self.batch_id + 1}", "is missing")
        if batch.previous_hash != self.hash:
            yield Broken(row, f"does not follow the hash of batch {self.batch_id}")
        if len(batch.transfers) != batch.transfer_count:
            found = len(batch.transfers)
            yield Broken(row, f"was written with {batch.transfer_count} transfers, has {found}")
        if len(batch.event_lines) != batch.event_count:
            found = len(batch.event_lines)
            yield Broken(row, f"was written with {batch.event_count} usage events, has {found}")
        lines = [*(transfer.line() for transfer in batch.transfers), *batch.event_lines]
        if chain_hash(batch.previous_hash, lines) != batch.hash:
            yield Broken(row, "a row of it was changed: its rows give another hash")


def flaw_of(transfer: Transfer) -> Broken | None:
    """How a transfer differs from what its kind says; ``None`` when it does not."""
    row = f"transfer {transfer.kind} of {transfer.source_id}, account {transfer.account_id}"
    sides = (transfer.debit_code, transfer.credit_code)
    if transfer.kind == "correction":
        fits = "credits" in sides and bool(CORRECTED.intersection(sides))
    else:
        fits = CHART.get(transfer.kind) == sides
    if not fits:
        return Broken(row, f"moves from {sides[0]} to {sides[1]}")
    if not 0 < transfer.amount_nanos <= MAX_NANOS:
        return Broken(row, f"has the amount {transfer.amount_nanos}")
    if transfer.account_id == PLATFORM:
        return Broken(row, "is made on behalf of the platform itself")
    return None


async def walk_chain(
    connection: Connection, since: Checked, end: ChainEnd, pace: Pace, progress: Progress
) -> ChainWalk:
    """Walk from the last check to the end of the chain, telling how far it is."""
    walk = ChainWalk.after(since)
    if since.batch_id and await hash_of_batch(connection, since.batch_id) != since.hash:
        walk.unchained = Broken(f"batch {since.batch_id}", "was checked with another hash")
    total = end.last_batch_id - since.batch_id
    async for batch in read_batches(connection, since.batch_id, pace):
        walk.take(batch)
        progress("batches", walk.batches, total)
    if walk.unchained is None and (walk.batch_id, walk.hash) != (end.batch_id, end.hash):
        walk.unchained = Broken(
            "ledger_chain", f"ends at batch {end.batch_id}, the batches at {walk.batch_id}"
        )
    if walk.unchained is None:
        walk.unchained = await first_broken(connection, "stray", end.batch_id)
    return walk


def chain_proofs(walk: ChainWalk) -> tuple[Proof, Proof]:
    """What a walk proves: invariants 1 and 8."""
    return (
        Proof(1, f"{walk.transfers} transfers", *(walk.misshapen or ("", ""))),
        Proof(8, f"{walk.batches} batches, {walk.lines} rows", *(walk.unchained or ("", ""))),
    )
