"""One entry to what has to be done about it: settle, extend, or keep for a person. Pure.

A ticket that is not ours, or was made at an absurd time, never reaches the ledger: the entry goes
to quarantine, in the form of the log file, so that it can be replayed once the cause is put right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from accesslog.logline import write_line
from accesslog.notices import Notices
from accesslog.outcome import decide
from accesslog.price import settlement_of
from accesslog.settings import JudgeSettings
from accesslog.values import Entry
from billing.catalog import Catalog
from billing.ledger import Settlement
from billing.stores.protocol import QuarantineRow
from billing.ticket import Forged, Ticket, TicketSeal

MICROS = 1_000_000
OTHER_ROUTE = "(unknown)"


class Extension(NamedTuple):
    """A reservation whose request goes on: until when it now lives, Unix seconds."""

    account_id: str
    reservation_id: str
    expires_s: int


class Priced(NamedTuple):
    """An entry and the settlement that it asks for."""

    entry: Entry
    settlement: Settlement


@dataclass(slots=True)
class Judged:
    """What a batch of entries asks for, and what it was made of.

    ``decided`` counts entries by route and by the row of the outcome table that decided them.
    """

    priced: list[Priced] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    quarantine: list[QuarantineRow] = field(default_factory=list)
    decided: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)


class Judge:
    """Judges entries by the catalog in force.

    ``catalog`` gives the one of this moment; ``now_us`` is Unix time in microseconds.
    """

    def __init__(
        self,
        seal: TicketSeal,
        catalog: Callable[[], Catalog],
        settings: JudgeSettings,
        now_us: Callable[[], int],
        notices: Notices,
    ) -> None:
        self._notices = notices
        self._seal = seal
        self._catalog = catalog
        self._settings = settings
        self._now_us = now_us
        self._forged_minute = 0
        self._forged_kept = 0

    def judge(self, entries: Iterable[Entry]) -> Judged:
        """Judge every entry; one that cannot be priced is set apart, the others go on."""
        judged = Judged()
        catalog = self._catalog()
        now_us = self._now_us()
        for entry in entries:
            ticket = self._seal.open(entry.ticket)
            if isinstance(ticket, Forged):
                self._refuse_forged(judged, entry, ticket, now_us)
                continue
            odd = self._odd_time(ticket, now_us)
            if odd:
                _set_apart(judged, entry, ticket, odd)
                continue
            try:
                self._add(judged, entry, ticket, catalog, now_us)
            except Exception as fault:  # noqa: BLE001 - reported, and the others go on
                self._notices.tell(
                    "pricing_failed",
                    f"an entry of route {ticket.route}: {fault!r}",
                    request_id=ticket.reservation_id,
                    account=ticket.account_id,
                )
                _set_apart(judged, entry, ticket, "pricing_failed")
        return judged

    def _add(
        self, judged: Judged, entry: Entry, ticket: Ticket, catalog: Catalog, now_us: int
    ) -> None:
        row = decide(entry)
        if row.action == "extend":
            lifetime_s = ticket.expires_s - ticket.admitted_us // MICROS
            ends_s = now_us // MICROS + min(max(0, lifetime_s), self._settings.max_age_s)
            judged.extensions.append(Extension(ticket.account_id, ticket.reservation_id, ends_s))
        else:
            settlement = settlement_of(ticket, entry, row, catalog, self._settings.max_price_nanos)
            judged.priced.append(Priced(entry, settlement))
        decided = (ticket.route if ticket.route in catalog.routes else OTHER_ROUTE, row.name)
        judged.decided[decided] = judged.decided.get(decided, 0) + 1

    def _odd_time(self, ticket: Ticket, now_us: int) -> str:
        """Why a ticket's time cannot be right, or an empty text."""
        if ticket.admitted_us > now_us + self._settings.max_ahead_s * MICROS:
            return "from_the_future"
        if ticket.admitted_us < now_us - self._settings.max_age_s * MICROS:
            return "too_old"
        return ""

    def _refuse_forged(self, judged: Judged, entry: Entry, forged: Forged, now_us: int) -> None:
        """Keep the first of each minute; the others are counted only."""
        reason = f"ticket_{forged.reason}"
        judged.refused[reason] += 1
        self._notices.tell(
            reason, f"request {entry.request_id!r} carries a ticket that is not ours"
        )
        minute = now_us // (60 * MICROS)
        if minute != self._forged_minute:
            self._forged_minute, self._forged_kept = minute, 0
        if self._forged_kept < self._settings.forged_per_minute:
            self._forged_kept += 1
            judged.quarantine.append(QuarantineRow(None, None, reason, write_line(entry)))


def _set_apart(judged: Judged, entry: Entry, ticket: Ticket, reason: str) -> None:
    judged.refused[reason] += 1
    row = QuarantineRow(ticket.account_id, ticket.reservation_id, reason, write_line(entry))
    judged.quarantine.append(row)
