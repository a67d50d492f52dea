"""What the front door works with: one value that the story is told over."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from billing.catalog import Catalog, Posture, Route
from billing.fullness import Fullness
from billing.refusals import Refusal
from billing.reservations import Admission, Admitted, Hold, JournalRow
from billing.ticket import TicketSeal
from extauthz.deadline import Deadline
from extauthz.directory import Directory
from extauthz.limits import CheckLimits


class Reserver(Protocol):
    """Whoever reserves credits (:class:`billing.reserver.Reserver`)."""

    def draw(self, hold: Hold, row: JournalRow) -> Admitted | None:
        """Hold all budgets of a request at once, from a lease; ``None`` where :meth:`reserve` has
        to."""

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
        """Hold all budgets of a request, or none.

        When it is cancelled, because the client left or the deadline is over, the request will not
        run: what was held for it has to end soon.
        """


class Offered(NamedTuple):
    """A catalog, and its number in the row of those that were in force."""

    catalog: Catalog
    edition: int


class Door:
    """The collaborators of one worker's checks.

    ``now_s`` is Unix time, ``new_id`` makes a UUIDv7 as text. ``offered`` is in force, and
    replaced as a whole by :meth:`offer`. ``fullness`` knows whether what requests
    cost can be recorded; without it nobody says that it cannot.
    """

    __slots__ = (
        "deadline",
        "directory",
        "fullness",
        "new_id",
        "now_s",
        "offered",
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
        fullness: Fullness | None = None,
    ) -> None:
        self.offered = Offered(catalog, 0)
        self.directory = directory
        self.reserver = reserver
        self.seal = seal
        self.now_s = now_s
        self.new_id = new_id
        self.fullness = fullness
        self.deadline = Deadline(limits.reserve_deadline_s)

    def offer(self, catalog: Catalog) -> None:
        """Decide by another catalog from the next check on."""
        self.offered = Offered(catalog, self.offered.edition + 1)

    async def reserve(self, hold: Hold, row: JournalRow, route: Route) -> Admission:
        """Reserve within the deadline; ``TimeoutError`` where it was not enough."""
        reserving = self.reserver.reserve(hold, row, route.redis_posture)
        return await self.deadline.keep(reserving)

    def judge_room(self, route: Route) -> Refusal | None:
        """Refuse, while what requests cost cannot be recorded, what the route does not let pass."""
        fullness = self.fullness
        if fullness is None or not fullness.is_full or not route.charged:
            return None
        return fullness.judge(route)
