"""What the front door decides: the two things that it can say, and the two that it waits for."""

from __future__ import annotations

import msgspec

from billing.catalog import Shape
from billing.refusals import Refusal
from billing.reservations import Admitted, Hold, JournalRow
from extauthz.facts import Facts
from extauthz.terms import Terms


class Allowed(msgspec.Struct, frozen=True):
    """The request may pass.

    ``request_id`` is the reservation's. Without a ``ticket`` nothing was reserved, because the
    route charges nothing. ``admission`` says what the account has left besides the hold,
    ``quoted_units`` what a token limit takes in advance (``None`` where the route has none).
    """

    request_id: str
    terms: Terms
    facts: Facts
    ticket: str = ""
    held_nanos: int = 0
    admission: Admitted | None = None
    quoted_units: int | None = None


class Draft(msgspec.Struct, frozen=True):
    """All that an :class:`Allowed` needs but the admission of its hold."""

    hold: Hold
    row: JournalRow
    ticket: str
    terms: Terms
    facts: Facts
    quoted_units: int | None

    def allowed(self, admission: Admitted) -> Allowed:
        """With the hold admitted."""
        hold = self.hold
        return Allowed(
            hold.reservation_id,
            self.terms,
            self.facts,
            self.ticket,
            hold.amount_nanos,
            admission,
            self.quoted_units,
        )


class Unknown(msgspec.Struct, frozen=True):
    """Postgres has to be asked who this key belongs to."""

    key_hash: bytes


class Refused(msgspec.Struct, frozen=True):
    """The request may not pass; the client is told why, in the shape that the route speaks."""

    request_id: str
    refusal: Refusal
    shape: Shape
    facts: Facts
