"""``tollkeeper explain``: one request from its reservation to its ledger entries, in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from billing.reports import Explanation, UsageEvent
from tollkeeper.cli.showing import show_facts, show_table, usd


def show_explanation(found: Explanation) -> None:
    """Print all that is known of a request."""
    reservation = found.reservation
    show_facts(
        [
            ("request", reservation.id),
            ("account", reservation.account_id),
            ("key", reservation.key_id),
            ("route", f"{reservation.route} (profile {reservation.profile})"),
            ("state", reservation.state),
            ("admitted", reservation.admitted_at),
            ("ended", reservation.ended_at),
            ("held", f"{usd(reservation.held_nanos)} USD"),
            ("quoted at most", f"{usd(reservation.quoted_nanos)} USD"),
            ("price version", _version(found)),
        ]
    )
    if found.event is not None:
        _show_event(found.event)
    if found.entries:
        typer.echo("\nLedger entries")
        rows = [
            (e.kind, e.debit_code, e.credit_code, usd(e.amount_nanos), e.batch_id, e.posted_at)
            for e in found.entries
        ]
        show_table(("kind", "debit", "credit", "USD", "batch", "posted"), rows)
    if found.quarantined:
        typer.echo("\nCame again with another content (quarantine)")
        items = [(q.id, q.reason, q.seen, q.entry[:200]) for q in found.quarantined]
        show_table(("id", "reason", "seen", "entry"), items)


def _show_event(event: UsageEvent) -> None:
    typer.echo("\nSettled")
    cost = event.provider_cost_nanos
    show_facts(
        [
            ("outcome", f"{event.outcome}, {event.status}"),
            ("meter", f"{event.meter} {event.model}".strip()),
            ("units", event.units),
            ("formula", event.formula),
            ("price", f"{usd(event.price_nanos)} USD"),
            ("provider's cost", "nobody knows" if cost is None else f"{usd(cost)} USD"),
            ("review", event.review or "-"),
            ("usage", _usage(event)),
            ("completed", event.completed_at),
            ("settled", event.settled_at),
        ]
    )


def _usage(event: UsageEvent) -> str:
    """What the entry said was used; an entry that said nothing used nothing that is metered."""
    used = event.facts.get("usage", event.facts)
    told = used if isinstance(used, Mapping) else {"usage": used}
    return ", ".join(f"{name}={value}" for name, value in told.items()) or "-"


def _version(found: Explanation) -> str:
    since = found.price_effective_from
    known = f"in force from {since:%Y-%m-%d %H:%M:%SZ}" if since else "not in this database"
    return f"{found.reservation.price_version} ({known})"
