"""What a check of the ledger found: one proof for each invariant of the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Invariant = Literal[1, 2, 3, 4, 5, 6, 7, 8]

TITLES: Mapping[Invariant, str] = MappingProxyType(
    {
        1: "every transfer is one row along the chart of accounts",
        2: "balances and usage equal the replay of their rows",
        3: "one settlement per reservation, one cause per transfer",
        4: "rows of the ledger cannot be changed",
        5: "every admitted reservation has one end",
        6: "what is held is covered",
        7: "Redis equals Postgres minus live reservations",
        8: "every batch is chained by its hash",
    }
)

Progress = Callable[[str, int, int], None]
"""Is told the step under way, how much of it is done, and of how much (0 when nobody knows)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One invariant: how much was looked at, the first broken row if there is one, and remarks.

    ``skipped`` says why it was not looked at, and is empty when it was. ``of_now`` says that it is
    broken by how things stand, not by a row of a batch: every check looks at all of that anew.
    """

    invariant: Invariant
    checked: str = ""
    broken_row: str = ""
    broken_how: str = ""
    notices: tuple[str, ...] = ()
    skipped: str = ""
    of_now: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing that breaks it was found."""
        return not self.broken_row


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """All proofs over the batches after ``since_batch`` up to ``through_batch``."""

    since_batch: int
    through_batch: int
    proofs: Sequence[Proof]

    @property
    def first_broken(self) -> Proof | None:
        """The first invariant that does not hold."""
        return next((proof for proof in self.proofs if not proof.holds), None)

    @property
    def batches_in_order(self) -> bool:
        """Whether the next check may go on behind these batches."""
        return all(proof.holds or proof.of_now for proof in self.proofs)

    @property
    def verdict(self) -> str:
        """One line: all is well, or the first broken row."""
        broken = self.first_broken
        if broken is None:
            return "ledger check: ok"
        return (
            f"ledger check: invariant {broken.invariant} is broken: "
            f"{broken.broken_row}: {broken.broken_how}"
        )
