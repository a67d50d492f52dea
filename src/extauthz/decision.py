"""What the front door decided: the only two things that it can say."""

from __future__ import annotations

import msgspec

from billing.catalog import Shape
from billing.refusals import Refusal
from billing.reservations import Admitted
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


class Refused(msgspec.Struct, frozen=True):
    """The request may not pass; the client is told why, in the shape that the route speaks."""

    request_id: str
    refusal: Refusal
    shape: Shape
    facts: Facts
