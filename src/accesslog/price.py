"""Ticket and entry to a settlement: which tariff, what it says, and what to do when nobody knows.

Pure, and of nothing but the ticket, the entry, the row of the outcome table and the catalog: the
same entry from the stream and from a file gives the same settlement.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from accesslog.flags import write_flags
from accesslog.outcome import NO_USAGE, Row
from accesslog.values import MAX_TEXT_CHARS, Entry
from billing.catalog import Catalog, Route
from billing.ledger import Outcome, Settlement, UsageStatus
from billing.meters.values import Cost, NoUsage, Tariff, Usage
from billing.reservations import MAX_COUNTED, parse_record
from billing.ticket import Ticket

ABOVE_HOLD = "above_hold"
CLOCK_SLACK_US = 3_600 * 1_000_000
"""By how much Envoy's clock may differ from the front door's before the latter is believed."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What pricing was given: kept as JSON beside each usage event, to be priced again."""

    attempts: int
    basis: dict[str, Any]
    code: int
    details: str
    duration_ms: int
    flags: str
    request_bytes: int
    request_id: str
    response_bytes: int
    row: str
    tariff: str
    usage: dict[str, Any]


_ENCODER = msgspec.json.Encoder(order="deterministic")


class _Priced(NamedTuple):
    """The part of a settlement that depends on the tariff."""

    outcome: Outcome
    status: UsageStatus
    units: int
    price_nanos: int
    provider_cost_nanos: int | None
    formula: str
    review: str


def settlement_of(
    ticket: Ticket, entry: Entry, row: Row, catalog: Catalog, max_price_nanos: int
) -> Settlement:
    """Price the entry of an ended request as its row says."""
    assert row.action != "extend", row
    route = catalog.routes.get(ticket.route)
    tariff = _tariff(ticket, route, catalog)
    if row.action == "release":
        priced = _Priced(row.outcome, "billed", 0, 0, None, row.meaning, "")
    elif isinstance(tariff, NoUsage):
        priced = _unpriced(row.outcome, tariff.reason)
    elif row.action == "unknown":
        priced = _without_usage(ticket, route, row.name)
    else:
        cost = tariff.cost(ticket.basis, usage_of(entry, row))
        priced = _priced(ticket, route, row, cost, max_price_nanos)
    return _settlement(ticket, entry, row, route, priced)


def usage_of(entry: Entry, row: Row) -> Usage:
    """What the meter is told of an entry."""
    named = entry.usage
    cost = named.get("reported_cost")
    return Usage(
        named.get("input_tokens"),
        named.get("cached_tokens"),
        named.get("output_tokens"),
        named.get("model"),
        entry.request_bytes,
        entry.response_bytes,
        entry.duration_ms,
        named.get("cpu_ms"),
        named.get("memory_mib"),
        cost if cost is None or isinstance(cost, str) else str(cost),
        row.outcome == "cut_short",
    )


def _tariff(ticket: Ticket, route: Route | None, catalog: Catalog) -> Tariff | NoUsage:
    """The tariff that was in force when the ticket was made, or why there is none."""
    name = _tariff_name(ticket, route)
    if not name:
        return NoUsage("unknown_route")
    version = catalog.prices.named(ticket.price_version)
    if version is None:
        return NoUsage("unknown_price_version")
    return version.tariffs.get(name) or NoUsage("unknown_tariff")


def _tariff_name(ticket: Ticket, route: Route | None) -> str:
    """The ticket's, which a changed route does not change; an older ticket's is its route's."""
    return ticket.tariff or ("" if route is None else route.tariff)


def _priced(
    ticket: Ticket, route: Route | None, row: Row, cost: Cost | NoUsage, max_price_nanos: int
) -> _Priced:
    if isinstance(cost, NoUsage):
        return _without_usage(ticket, route, cost.reason)
    highest_nanos = max(cost.price_nanos, cost.provider_cost_nanos or 0)
    if highest_nanos > max_price_nanos or cost.units > MAX_COUNTED:
        return _unpriced(row.outcome, f"out_of_range: {cost.formula}")
    reviews = [cost.review] if cost.review else []
    if cost.price_nanos > ticket.held_nanos:
        reviews.append(ABOVE_HOLD)
    return _Priced(
        row.outcome,
        "needs_review" if cost.review else "billed",
        cost.units,
        cost.price_nanos,
        cost.provider_cost_nanos,
        cost.formula,
        ", ".join(reviews),
    )


def _unpriced(outcome: Outcome, reason: str) -> _Priced:
    """Recorded for a person, and not charged."""
    return _Priced(outcome, "needs_review", 0, 0, None, "not charged", reason)


def _without_usage(ticket: Ticket, route: Route | None, reason: str) -> _Priced:
    """By the route's policy: left to a person, or charged the quote."""
    review = f"{NO_USAGE.name}: {reason}"
    if route is None or route.missing_usage == "review":
        return _unpriced(NO_USAGE.outcome, review)
    quoted_nanos = ticket.quoted_nanos
    formula = f"the quote = {quoted_nanos} nano-USD"
    units = _held_units(ticket)
    return _Priced(NO_USAGE.outcome, "billed", units, quoted_nanos, None, formula, review)


def _held_units(ticket: Ticket) -> int:
    """The units that were reserved of the period's quota; 0 where the plan counts none."""
    shares = parse_record(ticket.record()).shares
    return max((share.amount for share in shares if share.name.startswith("units:")), default=0)


def _settlement(
    ticket: Ticket, entry: Entry, row: Row, route: Route | None, priced: _Priced
) -> Settlement:
    return Settlement(
        reservation_id=ticket.reservation_id,
        account_id=ticket.account_id,
        key_id=ticket.key_id,
        profile=ticket.profile,
        route=ticket.route,
        meter="" if route is None else route.meter,
        model=_model(ticket, entry),
        price_version=ticket.price_version,
        outcome=priced.outcome,
        status=priced.status,
        billed=row.action != "release",
        units=priced.units,
        price_nanos=priced.price_nanos,
        provider_cost_nanos=priced.provider_cost_nanos,
        held_nanos=ticket.held_nanos,
        quoted_nanos=ticket.quoted_nanos,
        record=ticket.record(),
        formula=priced.formula,
        review=priced.review,
        facts=_facts(ticket, entry, row, route),
        admitted_us=ticket.admitted_us,
        completed_us=_completed_us(ticket, entry),
        expires_s=ticket.expires_s,
    )


def _completed_us(ticket: Ticket, entry: Entry) -> int:
    """When the request ended, by Envoy's clock where that makes sense beside the front door's."""
    if abs(entry.started_us - ticket.admitted_us) > CLOCK_SLACK_US:
        return ticket.admitted_us + entry.duration_ms * 1000
    return entry.completed_us


def _model(ticket: Ticket, entry: Entry) -> str:
    """The model that priced the request, else the one that the answer names."""
    name = ticket.basis.get("model") or entry.usage.get("model")
    return name.replace("\0", "")[:MAX_TEXT_CHARS] if isinstance(name, str) else ""


def _facts(ticket: Ticket, entry: Entry, row: Row, route: Route | None) -> str:
    return _ENCODER.encode(
        Facts(
            entry.attempts,
            ticket.basis,
            entry.code,
            entry.details,
            entry.duration_ms,
            write_flags(entry.flags) if entry.flags else "",
            entry.request_bytes,
            entry.request_id,
            entry.response_bytes,
            row.name,
            _tariff_name(ticket, route),
            entry.usage,
        )
    ).decode()
