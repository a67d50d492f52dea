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
from extauthz.decision import Allowed, Draft, Unknown
from extauthz.directory import Caller
from extauthz.door import Door, Offered
from extauthz.facts import Facts
from extauthz.paperwork import draw_up
from extauthz.shortage import explain
from extauthz.terms import agree, judge_access

NO_ROUTE = refuse("unknown_route", "its name is not in the configuration")
MALFORMED = refuse("malformed_key")
UNSURE = refuse("authorization_unavailable", "keys cannot be checked right now", retry_after_s=1)
NO_PRICE = refuse("authorization_unavailable", "no price of this route is in force")
TOO_LATE = refuse("authorization_unavailable", "the reservation took too long", retry_after_s=1)
TOO_MUCH = refuse("body_too_large", "the request names more than a ticket can hold")


# Every branch of the door stands here on purpose: one function, read from top to bottom.
def decide(  # noqa: PLR0911, PLR0912
    door: Door,
    facts: Facts,
    offered: Offered,
    request_id: str,
    caller: Caller | Refusal | None = None,
) -> Allowed | Refusal | Unknown | Draft:
    """Decide one check as far as nothing has to be waited for (:func:`wait`); a refusal is a value,
    a fault of ours an exception. ``caller`` is whose an unknown key is found to be."""
    now_s, (catalog, edition) = door.now_s(), offered
    route = catalog.routes.get(facts.route)
    if route is None:
        return NO_ROUTE

    # Who is calling?
    if isinstance(facts.key, Refusal):
        return facts.key
    if caller is None:
        key_hash = hash_key(facts.key)
        caller = door.directory.recall(key_hash)
        if caller is None:
            return Unknown(key_hash) if is_well_formed(facts.key) else MALFORMED
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

    # What has to be held? The ticket comes first: what could never be settled must not be held.
    hold, row, ticket = draw_up(door.seal, terms, quote, price.version, request_id, now_s)
    if len(ticket) > MAX_TICKET_CHARS:
        return TOO_MUCH
    return Draft(hold, row, ticket, terms, facts, terms.quoted_units(quote))


async def wait(
    door: Door, facts: Facts, offered: Offered, request_id: str, missing: Unknown | Draft
) -> Allowed | Refusal:
    """Decide with what had to be waited for, by what was offered at the beginning."""
    decided: Allowed | Refusal | Unknown | Draft = missing
    if isinstance(decided, Unknown):
        caller = await door.directory.find(decided.key_hash)
        decided = decide(door, facts, offered, request_id, caller)
        assert not isinstance(decided, Unknown), "it is known now, or refused"
    if not isinstance(decided, Draft):
        return decided
    hold, row, terms = decided.hold, decided.row, decided.terms
    try:
        admission = await door.reserve(hold, row, terms.route)
    except TimeoutError:
        return TOO_LATE
    if isinstance(admission, Admitted):
        return decided.allowed(admission)
    return explain(admission, hold, terms, door.now_s())
