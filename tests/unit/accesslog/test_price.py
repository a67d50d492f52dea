"""Ticket and entry to a settlement, and what happens when nobody knows the price."""

import json
from typing import Any

import pytest

from accesslog.flags import flags_of
from accesslog.logline import read_line, write_line
from accesslog.outcome import decide
from accesslog.price import Facts, settlement_of
from accesslog.values import Entry
from billing.catalog import Catalog, PriceBook, PriceVersion
from billing.ledger import Settlement
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.reservations import MAX_COUNTED
from billing.ticket import Ticket
from tests.unit.accesslog.door import (
    CATALOG,
    CHAT_BASIS,
    CHAT_NANOS,
    NOW_US,
    make_entry,
    make_ticket,
    route,
)

MAX_PRICE_NANOS = 10**12


def settled(ticket: Ticket, entry: Entry, catalog: Catalog = CATALOG) -> Settlement:
    return settlement_of(ticket, entry, decide(entry), catalog, MAX_PRICE_NANOS)


def priced(changes: dict[str, Any] | None = None, **entry: Any) -> Settlement:
    """The settlement of an entry; ``changes`` are fields of its ticket."""
    return settled(make_ticket(1, **(changes or {})), make_entry("", **entry))


def test_an_answered_chat() -> None:
    """Tokens are billed by the ticket's price version, with formula, cost and facts."""
    found = priced()
    assert (found.outcome, found.status, found.billed) == ("answered", "billed", True)
    assert (found.price_nanos, found.provider_cost_nanos, found.units) == (CHAT_NANOS, 100_000, 150)
    assert (found.meter, found.model, found.price_version) == ("tokens", "small", "v1")
    assert (found.review, found.held_nanos, found.quoted_nanos) == ("", 3_000_000, 4_000_000)
    assert found.formula.endswith("= 300000 nano-USD; provider's cost 100000")
    assert found.completed_us == NOW_US + 120_000
    assert found.expires_s == NOW_US // 1_000_000 + 600


def test_facts_are_canonical_and_enough_to_price_again() -> None:
    """The same facts give the same text, keys in order; the meter reads its price out of them."""
    found = priced()
    facts = json.loads(found.facts)
    assert list(facts) == sorted(Facts.__struct_fields__)
    assert json.dumps(facts, sort_keys=True, separators=(",", ":")) == found.facts
    other_order = {"output_tokens": 50, "model": "small-2026", "input_tokens": 100}
    assert priced(usage=other_order).facts == found.facts
    tariff = CATALOG.prices.versions[0].tariffs[facts["tariff"]]
    again = tariff.cost(facts["basis"], Usage(**facts["usage"]))
    assert isinstance(again, Cost)
    assert again.price_nanos == found.price_nanos


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"usage": {}},
        {"flags": flags_of("DC"), "usage": {}},
        {"code": 503, "flags": flags_of("UF")},
        {"usage": {"input_tokens": 7, "output_tokens": 2**52, "cached_tokens": 3}},
        {"usage": {"input_tokens": -1, "output_tokens": "many"}},
    ],
)
def test_stream_and_file_give_the_same_content(changes: dict) -> None:
    """An entry that was written to the file and read back settles to the same content."""
    ticket, entry = make_ticket(1), make_entry("ticket", **changes)
    again = read_line(write_line(entry).encode(), {})
    assert again is not None
    assert settled(ticket, again) == settled(ticket, entry)
    assert settled(ticket, again).content_hash() == settled(ticket, entry).content_hash()


def test_a_release_costs_nothing() -> None:
    """What was not answered is not billed, whatever usage it names, and counts no units."""
    found = priced(code=503)
    assert (found.outcome, found.billed, found.price_nanos, found.units) == (
        "not_answered",
        False,
        0,
        0,
    )
    assert found.provider_cost_nanos is None


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        ({}, "missing"),
        ({"model": "small"}, "missing"),
        ({"input_tokens": -1, "output_tokens": 5}, "negative"),
        ({"input_tokens": 5, "output_tokens": -(2**53)}, "negative"),
        ({"input_tokens": "5", "output_tokens": 5}, "whole number"),
        ({"input_tokens": 5, "output_tokens": "lots"}, "whole number"),
        ({"input_tokens": 5, "output_tokens": 0.5}, "whole number"),
        ({"input_tokens": True, "output_tokens": 5}, "whole number"),
        ({"input_tokens": 2**62, "output_tokens": 5}, "above"),
        ({"input_tokens": 5, "output_tokens": 2**63 - 1}, "above"),
        ({"input_tokens": 5, "output_tokens": 1, "cached_tokens": 6}, "cached"),
    ],
)
def test_unusable_usage_is_left_to_a_person(usage: dict, reason: str) -> None:
    """Missing, negative, text and absurd usage is recorded, not charged, and says why."""
    found = priced(usage=usage)
    assert (found.outcome, found.status, found.billed) == ("no_usage", "needs_review", True)
    assert (found.price_nanos, found.units) == (0, 0)
    assert found.review.startswith("no_usage: ")
    assert reason in found.review


def test_a_route_may_charge_the_quote_instead() -> None:
    """With the policy ``charge_quote`` the quote is charged, and the units that were held."""
    found = priced({"route": "chat-charged"}, usage={})
    assert (found.outcome, found.status, found.billed) == ("no_usage", "billed", True)
    assert (found.price_nanos, found.units) == (4_000_000, 700)
    assert found.review.startswith("no_usage: ")
    without_quota = {"route": "chat-charged", "shares": ""}
    assert priced(without_quota, usage={}).units == 0


def test_who_left_before_the_answer_is_left_to_a_person() -> None:
    """The upstream was at work: recorded, and charged only by the route's policy."""
    gone: dict[str, Any] = {"code": 0, "flags": flags_of("DC"), "usage": {}}
    found = priced(**gone)
    assert (found.outcome, found.status, found.price_nanos) == ("no_usage", "needs_review", 0)
    assert found.review == "no_usage: left_waiting"
    assert priced({"route": "ping", "basis": {}}, **gone).price_nanos == 0
    assert priced({"route": "chat-charged"}, **gone).price_nanos == 4_000_000


def test_who_left_in_mid_stream_pays_what_was_produced() -> None:
    """Tokens of a cut stream are estimated from its bytes, and a person may look."""
    found = priced(flags=flags_of("DC"), usage={}, response_bytes=2_000)
    assert (found.outcome, found.status) == ("cut_short", "needs_review")
    assert found.review == "estimated_from_bytes"
    assert found.units == 100 + 10


def test_more_than_was_held_is_billed_and_flagged() -> None:
    """Usage above the reservation is billed in full; the review says so and asks for nobody."""
    found = priced({"held_nanos": CHAT_NANOS - 1})
    assert (found.price_nanos, found.status, found.review) == (CHAT_NANOS, "billed", "above_hold")
    assert priced({"held_nanos": CHAT_NANOS}).review == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"route": "gone"}, "unknown_route"),
        ({"price_version": "v0"}, "unknown_price_version"),
        ({"route": "astray"}, "unknown_tariff"),
    ],
)
def test_what_nobody_can_price_is_recorded_and_not_charged(changes: dict, reason: str) -> None:
    """A route, version or tariff that is gone loses nothing: a person finds it with its facts."""
    found = priced(changes)
    assert (found.status, found.billed, found.price_nanos) == ("needs_review", True, 0)
    assert (found.outcome, found.review) == ("answered", reason)
    assert json.loads(found.facts)["usage"]["output_tokens"] == 50
    assert priced(changes, code=503).billed is False


def test_the_ticket_names_its_tariff() -> None:
    """A route that has another tariff by now, or is gone, changes nothing for what was admitted."""
    admitted = {"tariff": "words"}
    for name in ("chat", "astray", "gone"):
        found = priced(admitted | {"route": name})
        assert (found.status, found.price_nanos) == ("billed", CHAT_NANOS), name
        assert json.loads(found.facts)["tariff"] == "words"
    assert priced({"tariff": "taken away"}).review == "unknown_tariff"


class Dear:
    """A tariff that asks what it is told."""

    def __init__(self, price_nanos: int, units: int = 1, cost_nanos: int | None = None) -> None:
        self._cost = Cost(price_nanos, cost_nanos, units, "as told")

    def quote(self, ask: Ask) -> Quote:
        raise AssertionError(f"the back door never quotes: {ask}")

    def cost(self, basis: object, usage: Usage) -> Cost | NoUsage:
        assert (basis, usage.output_tokens) == (CHAT_BASIS, 50)
        return self._cost


@pytest.mark.parametrize(
    ("tariff", "charged"),
    [
        (Dear(MAX_PRICE_NANOS), True),
        (Dear(MAX_PRICE_NANOS + 1), False),
        (Dear(2**62), False),
        (Dear(2**63 - 1), False),
        (Dear(2**70), False),
        (Dear(1, cost_nanos=2**63), False),
        (Dear(1, units=MAX_COUNTED), True),
        (Dear(1, units=MAX_COUNTED + 1), False),
        (Dear(1, units=2**63), False),
    ],
)
def test_absurd_amounts_are_left_to_a_person(tariff: Dear, charged: bool) -> None:
    """Amounts near 2^63 and prices that no request has are recorded with their formula."""
    catalog = Catalog(
        {"dear": route("dear", "flat", "dear")},
        {},
        PriceBook([PriceVersion("v1", 0, {"dear": tariff}, "digest")]),
    )
    found = settled(make_ticket(1, route="dear"), make_entry(""), catalog)
    assert (found.price_nanos > 0) == charged
    if not charged:
        assert (found.status, found.review) == ("needs_review", "out_of_range: as told")
        assert (found.price_nanos, found.units) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "entry", "price_nanos"),
    [
        ({"route": "ping", "basis": {}}, {"usage": {}}, 1_000_000),
        (
            {"route": "ethereum", "basis": {"calls": {"eth_call": 2}}},
            {"usage": {}, "request_bytes": 1_048, "response_bytes": 1_000},
            3_000,
        ),
        ({"route": "reported", "basis": {}}, {"usage": {"reported_cost": "0.000415"}}, 830_000),
        ({"route": "reported", "basis": {}}, {"usage": {"reported_cost": 1.5e-05}}, 30_000),
    ],
)
def test_other_meters(changes: dict, entry: dict, price_nanos: int) -> None:
    """Each meter gets what it needs of ticket and entry."""
    assert priced(changes, **entry).price_nanos == price_nanos


def test_odd_clocks_do_not_move_the_end() -> None:
    """When Envoy's clock is far from the front door's, the end is reckoned from admission."""
    minutes_off = NOW_US + 40 * 60 * 1_000_000
    assert priced(started_us=minutes_off).completed_us == minutes_off + 120_000
    for started_us in (0, NOW_US - 365 * 86_400 * 1_000_000, 2**63 - 1):
        assert priced(started_us=started_us).completed_us == NOW_US + 120_000


def test_names_from_outside_are_bounded() -> None:
    """A model's name that a database would refuse is made fit."""
    changes = {"route": "reported", "basis": {}}
    found = priced(changes, usage={"reported_cost": "1", "model": "a\0b"})
    assert found.model == "ab"
    assert priced(changes, usage={"reported_cost": "1", "model": 7}).model == ""
