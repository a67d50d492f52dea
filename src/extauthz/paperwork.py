"""What is written down about one admission: the hold, the journal's row, the ticket."""

from __future__ import annotations

import msgspec

from billing.meters.values import Quote
from billing.reservations import Hold, JournalRow
from billing.ticket import Ticket, TicketSeal
from extauthz.terms import Terms

US_PER_S = 1_000_000
_json = msgspec.json.Encoder()


def draw_up(  # noqa: PLR0917 - on the way of every request, where keywords cost time
    seal: TicketSeal,
    terms: Terms,
    quote: Quote,
    price_version: str,
    request_id: str,
    now_s: float,
) -> tuple[Hold, JournalRow, str]:
    """The three papers of a request, which agree in every number."""
    route = terms.route
    hold = terms.hold(request_id, quote, now_s)
    last = terms.last
    assert last is not None, "the hold was made of it"
    record = hold.record()
    admitted_us = int(now_s * US_PER_S)
    basis = dict(quote.basis)
    basis_text = _json.encode(basis).decode() if basis else "{}"
    row = JournalRow(
        request_id,
        terms.account_id,
        terms.key_id,
        route.profile,
        route.name,
        price_version,
        hold.amount_nanos,
        quote.max_nanos,
        record,
        basis_text,
        admitted_us,
        hold.expires_s,
    )
    ticket = Ticket(
        request_id,
        terms.account_id,
        terms.key_id,
        route.name,
        route.profile,
        price_version,
        hold.amount_nanos,
        quote.max_nanos,
        admitted_us,
        hold.expires_s,
        last.usual,
        basis,
        route.tariff,
    )
    return hold, row, seal.sign(ticket)
