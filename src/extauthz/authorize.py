"""The story of the front door: everything that can happen to a check, from top to bottom.

What comes before turns the wire into values (:mod:`extauthz.request`), what comes after turns
values into the wire (:mod:`extauthz.response`). Money is touched at one place, where the hold is
reserved; whatever is refused before it has changed nothing.
"""

from __future__ import annotations

from billing.keys import hash_key, is_well_formed
from billing.refusals import Refusal, refuse
from billing.reservations import Admitted
from billing.subscriptions import judge_key
from billing.ticket import MAX_TICKET_CHARS
from extauthz.ask import read_ask
from extauthz.decision import Allowed
from extauthz.door import Door
from extauthz.facts import Facts
from extauthz.paperwork import draw_up
from extauthz.shortage import explain
from extauthz.terms import agree, judge_access

MALFORMED = refuse("malformed_key")
UNSURE = refuse("authorization_unavailable", "keys cannot be checked right now", retry_after_s=1)
NO_PRICE = refuse("authorization_unavailable", "no price of this route is in force")
TOO_LATE = refuse("authorization_unavailable", "the reservation took too long", retry_after_s=1)
TOO_MUCH = refuse("body_too_large", "the request names more than a ticket can hold")


# Every branch of the door stands here on purpose: one function, read from top to bottom.
async def authorize(door: Door, facts: Facts, request_id: str) -> Allowed | Refusal:  # noqa: PLR0911, PLR0912
    """Decide one check; a refusal is a value, a fault of ours an exception."""
    now_s, catalog, edition = door.now_s(), door.catalog, door.edition
    route = catalog.routes.get(facts.route)
    if route is None:
        return refuse("unknown_route", "its name is not in the configuration")

    # Who is calling?
    if isinstance(facts.key, Refusal):
        return facts.key
    key_hash = hash_key(facts.key)
    caller = door.directory.recall(key_hash)
    if caller is None:
        if not is_well_formed(facts.key):
            return MALFORMED
        caller = await door.directory.find(key_hash)
    if isinstance(caller, Refusal):
        return caller
    if caller.stale and route.postgres_posture == "closed":
        return UNSURE
    if refusal := judge_key(caller.principal, now_s):
        return refusal

    # May they come in here, is there room to record what it costs, and on what terms?
    if refusal := judge_access(caller.principal, route) or door.judge_room(route):
        return refusal
    terms = caller.terms.get(route.name)
    if terms is None or terms.edition != edition or now_s >= terms.period_end_s:
        agreed = agree(catalog, edition, route, caller.principal, now_s)
        if isinstance(agreed, Refusal):
            return agreed
        terms = caller.terms[route.name] = agreed
    if not route.charged:
        return Allowed(request_id, terms, facts)

    # What may it cost?
    ask = read_ask(route, facts)
    if isinstance(ask, Refusal):
        return ask
    price = catalog.prices.at(now_s)
    if price is None or route.tariff not in price.tariffs:
        return NO_PRICE
    quote = price.tariffs[route.tariff].quote(ask)
    if isinstance(quote, Refusal):
        return quote
    if refusal := terms.too_expensive(quote):
        return refusal

    # Hold it. The ticket is written first: what could never be settled must not be held.
    hold, row, ticket = draw_up(door.seal, terms, quote, price.version, request_id, now_s)
    if len(ticket) > MAX_TICKET_CHARS:
        return TOO_MUCH
    try:
        admission = door.reserver.draw(hold, row) or await door.reserve(hold, row, route)
    except TimeoutError:
        return TOO_LATE
    if isinstance(admission, Admitted):
        quoted_units = terms.quoted_units(quote)
        return Allowed(request_id, terms, facts, ticket, hold.amount_nanos, admission, quoted_units)
    return explain(admission, hold, terms, now_s)
