"""What the front door works with: one value that the story is told over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from billing.catalog import Catalog, Posture
from billing.reservations import Admission, Hold, JournalRow
from billing.ticket import TicketSeal
from extauthz.deadline import Deadline
from extauthz.directory import Directory
from extauthz.limits import CheckLimits


class Reserver(Protocol):
    """Whoever reserves credits (:class:`billing.reserver.Reserver`)."""

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
        """Hold all budgets of a request, or none.

        When it is cancelled, because the client left or the deadline is over, the request will not
        run: what was held for it has to end soon.
        """


class Door:
    """The collaborators of one worker's checks.

    ``now_s`` is Unix time, ``new_id`` makes a UUIDv7 as text. ``catalog`` is replaced as a whole by
    :meth:`offer`; each time it is another ``edition``.
    """

    __slots__ = (
        "catalog",
        "deadline",
        "directory",
        "edition",
        "new_id",
        "now_s",
        "reserver",
        "seal",
    )

    def __init__(
        self,
        *,
        catalog: Catalog,
        directory: Directory,
        reserver: Reserver,
        seal: TicketSeal,
        now_s: Callable[[], float],
        new_id: Callable[[], str],
        limits: CheckLimits,
    ) -> None:
        self.catalog = catalog
        self.edition = 0
        self.directory = directory
        self.reserver = reserver
        self.seal = seal
        self.now_s = now_s
        self.new_id = new_id
        self.deadline = Deadline(limits.reserve_deadline_s)

    def offer(self, catalog: Catalog) -> None:
        """Decide by another catalog from the next check on."""
        self.catalog = catalog
        self.edition += 1
