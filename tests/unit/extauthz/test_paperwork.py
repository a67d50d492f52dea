"""Hold, journal row and ticket of one admission agree, whatever the plan bounds."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from billing.catalog import HoldPolicy, Route
from billing.meters.values import Quote
from billing.plans import Limits
from billing.ticket import Ticket, TicketSeal
from extauthz.paperwork import draw_up
from extauthz.period import DAY_S
from extauthz.terms import Terms, agree
from tests.unit.extauthz.front_door import NOW_S, ROUTES, make_catalog, make_principal

SEAL = TicketSeal([b"the secret of this installation"])
REQUEST_ID = "0198c0de-0000-7000-8000-000000000001"
PING = next(route for route in ROUTES if route.name == "ping")
MIDNIGHT_S = (NOW_S // DAY_S + 1) * DAY_S

bounds = st.none() | st.integers(0, 2**62)
limits = st.builds(
    Limits,
    max_in_flight=bounds,
    units_per_period=bounds,
    spend_per_period_nanos=bounds,
    spend_per_day_nanos=bounds,
)
amounts = st.tuples(*[st.integers(0, 2**53 - 1)] * 3).map(sorted)
bases = st.sampled_from([{}, {"model": "small", "input": 100, "max_output": 500, "n": 1}])
policies: st.SearchStrategy[HoldPolicy] = st.sampled_from(["min", "typical", "max"])
times_s = st.floats(NOW_S, NOW_S + 20 * DAY_S) | st.floats(MIDNIGHT_S - 0.001, MIDNIGHT_S + 0.001)


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    """Any quote of a request that is not too expensive."""
    (low, middle, high), (few, some, many) = draw(amounts), draw(amounts)
    return Quote(low, middle, high, few, some, many, draw(bases))


def terms_of(bounded: Limits, route: Route) -> Terms:
    agreed = agree(make_catalog(limits=bounded), 0, route, make_principal(1, "bounded"), NOW_S)
    assert isinstance(agreed, Terms)
    return agreed


def check_papers(terms: Terms, quote: Quote, now_s: float) -> Ticket:
    """Draw the papers up and hold them against each other."""
    hold, row, text = draw_up(SEAL, terms, quote, "v1", REQUEST_ID, now_s)
    ticket = SEAL.open(text)
    assert isinstance(ticket, Ticket)
    assert ticket.record() == row.record == hold.record()
    assert ticket.expires_s == row.expires_s == hold.expires_s
    assert ticket.admitted_us == row.admitted_us == int(now_s * 1_000_000)
    said = (ticket.reservation_id, ticket.account_id, ticket.key_id, ticket.profile, ticket.route)
    assert said == row[:5]
    assert (ticket.price_version, ticket.held_nanos, ticket.quoted_nanos) == row[5:8]
    assert (ticket.basis, ticket.tariff) == (dict(quote.basis), terms.route.tariff)
    return ticket


@given(limits, quotes(), policies, times_s)
def test_the_three_papers_agree(
    bounded: Limits, quote: Quote, policy: HoldPolicy, now_s: float
) -> None:
    """In every number and to the letter of the record, which the ticket does not spell out."""
    check_papers(terms_of(bounded, replace(PING, hold=policy)), quote, now_s)


def test_papers_of_requests_that_differ_under_one_set_of_terms() -> None:
    """Shares are written once for what repeats; another amount, or another day, is not that."""
    terms = terms_of(Limits(units_per_period=9, spend_per_day_nanos=9), PING)
    first, other = Quote(1, 1, 1, 1, 1, 1, {}), Quote(2, 2, 2, 5, 5, 5, {})
    records = [
        check_papers(terms, quote, now_s).record()
        for quote, now_s in [
            (first, MIDNIGHT_S - 1),
            (other, MIDNIGHT_S - 1),
            (first, MIDNIGHT_S - 1),
            (first, MIDNIGHT_S),
        ]
    ]
    assert records[0] == records[2]
    assert len(set(records)) == 3
