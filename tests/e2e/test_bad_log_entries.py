"""What may not move money: entries that are forged, without a ticket, repeated, contradicting,
out of order or early, sent straight to the sink's port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from billing.ticket import MAX_TICKET_CHARS, Ticket, TicketSeal
from envoyapi.accesslog_data_v3_pb2 import AccessLogType
from tests.e2e.doors import Pass, admit, entry, message, opened, seal_of, tell_sink
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.stage import CREDIT, Stage

PINGED = Paid("ping", CREDIT, 1)
MICROS = 1_000_000
DAY_S = 86_400
SOON_S = 5.0


@asynccontextmanager
async def counts(stage: Stage, name: str, by: int, **labels: str) -> AsyncIterator[None]:
    """What happens inside raises a counter of the sink by exactly so many."""
    page = str(stage.stack.settings.accesslog_metrics_listen)
    metric = f"tollkeeper_accesslog_{name}_total"
    expected = await stage.count(page, metric, **labels) + by
    yield
    deadline_s = time.monotonic() + SOON_S
    while (found := await stage.count(page, metric, **labels)) < expected:
        assert time.monotonic() < deadline_s, f"{name} {labels} is {found}, not {expected}"
        await asyncio.sleep(0.05)
    assert found == expected


async def end(stage: Stage, *passes: Pass) -> None:
    """Tell the true end of these requests."""
    await tell_sink(stage, [message(*(entry(one.ticket) for one in passes))])


def damaged(text: str, genuine: Ticket) -> dict[str, str]:
    """A ticket in four forms that are not ours."""
    *head, rest, mac = text.split(".")
    other_mac = ("A" if mac[0] != "A" else "B") + mac[1:]
    other_rest = ("A" if rest[0] != "A" else "B") + rest[1:]
    other_ids = [head[0], head[1], genuine.key_id, head[3]]
    foreign = TicketSeal([b"the secret of somebody else"])
    return {
        "mac": ".".join((*head, rest, other_mac)),
        "rest": ".".join((*head, other_rest, mac)),
        "ids": ".".join((*other_ids, rest, mac)),
        "foreign": foreign.sign(genuine),
    }


async def test_a_ticket_with_a_wrong_mac_settles_nothing(stage: Stage, books: Books) -> None:
    """Changed tickets and those of another secret are counted; the true one is settled after."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    forged = damaged(admitted.ticket, opened(stage, admitted.ticket))
    async with counts(stage, "refused", len(forged), reason="ticket_wrong_mac"):
        await tell_sink(stage, [message(*map(entry, forged.values()))])
    reading = await books.read(customer.account_id)
    assert reading.posted_nanos == 10 * CREDIT
    assert reading.events == []
    await end(stage, admitted)
    await books.expect(customer, 10 * CREDIT, PINGED)


async def test_texts_that_are_no_tickets_settle_nothing(stage: Stage) -> None:
    """Garbage where a ticket belongs is counted by its kind, however long it is."""
    async with (
        counts(stage, "refused", 2, reason="ticket_not_a_ticket"),
        counts(stage, "refused", 1, reason="ticket_too_long"),
    ):
        garbage = ("secretly", "3.abc.def", "1." + "A" * MAX_TICKET_CHARS)
        await tell_sink(stage, [message(*map(entry, garbage))])


async def test_an_entry_without_a_ticket_is_counted_and_left(stage: Stage, books: Books) -> None:
    """Entries without a ticket change nothing, and do not stop the one that follows them."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    async with counts(stage, "entries", 3, kind="without_ticket"):
        await tell_sink(
            stage, [message(entry(None), entry(""), entry(None), entry(admitted.ticket))]
        )
    await books.expect(customer, 10 * CREDIT, PINGED)


async def test_an_entry_that_comes_again_is_settled_once(stage: Stage, books: Books) -> None:
    """The same entry three times in a message, and again in another one, is one charge."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    same = message(*[entry(admitted.ticket)] * 3)
    async with counts(stage, "duplicates", 5):
        await tell_sink(stage, [same])
        await books.expect(customer, 10 * CREDIT, PINGED)
        await tell_sink(stage, [same])
    await books.expect(customer, 10 * CREDIT, PINGED)


async def test_another_content_is_a_conflict(stage: Stage, books: Books) -> None:
    """The first content stands; another one for the same reservation goes to a person."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    await end(stage, admitted)
    await books.expect(customer, 10 * CREDIT, PINGED)
    async with counts(stage, "conflicts", 1):
        await tell_sink(stage, [message(entry(admitted.ticket, code=503))])
    reading = await books.read(customer.account_id)
    assert reading.quarantine == ["conflict"]
    assert reading.posted_nanos == 9 * CREDIT
    assert reading.states == {"settled": 1}
    assert reading.redis == []


async def test_the_order_of_entries_does_not_matter(stage: Stage, books: Books) -> None:
    """Ends in the opposite order, and an entry from the way after the end: each settled once."""
    customer = await stage.customer(10 * CREDIT)
    first, second = await admit(stage, customer), await admit(stage, customer)
    periodic = AccessLogType.DownstreamPeriodic
    await end(stage, second)
    await tell_sink(
        stage, [message(entry(second.ticket, kind=periodic)), message(entry(first.ticket))]
    )
    await tell_sink(stage, [message(entry(first.ticket, kind=periodic))])
    reading = await books.expect(customer, 10 * CREDIT, PINGED, PINGED)
    ids = {event["reservation_id"] for event in reading.events}
    assert ids == {first.request_id, second.request_id}


async def test_an_entry_from_the_way_ends_nothing(stage: Stage, books: Books) -> None:
    """An intermediate entry extends the reservation: nothing is charged, and the hold stands."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    kinds = (AccessLogType.DownstreamStart, AccessLogType.DownstreamPeriodic)
    async with counts(stage, "extended", 1):
        await tell_sink(stage, [message(*(entry(admitted.ticket, kind=kind) for kind in kinds))])
    reading = await books.journaled(customer, pending=1)
    assert reading.states == {"pending": 1}
    assert reading.redis == [f"{admitted.request_id} is held"]
    assert (reading.posted_nanos, reading.events) == (10 * CREDIT, [])
    await end(stage, admitted)
    await books.expect(customer, 10 * CREDIT, PINGED)


async def test_entries_of_other_kinds_are_left(stage: Stage, books: Books) -> None:
    """Entries about attempts at the upstream carry the ticket too, and end nothing."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    kinds = (AccessLogType.UpstreamEnd, AccessLogType.UpstreamPoolReady)
    async with counts(stage, "entries", 2, kind="other_type"):
        await tell_sink(stage, [message(*(entry(admitted.ticket, kind=kind) for kind in kinds))])
    assert (await books.journaled(customer, pending=1)).states == {"pending": 1}
    await end(stage, admitted)
    await books.expect(customer, 10 * CREDIT, PINGED)


async def test_what_is_no_message_is_kept_and_does_no_harm(stage: Stage, books: Books) -> None:
    """Bytes that are no message are counted, and the rest of the stream is settled."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    async with counts(stage, "messages", 2, fate="unreadable"):
        bad = (b"\xff" * 64, b"secretly no message")
        await tell_sink(stage, [*bad, message(entry(admitted.ticket))])
    await books.expect(customer, 10 * CREDIT, PINGED)


@pytest.mark.parametrize(
    ("moved_s", "reason"), [(2 * 3_600, "from_the_future"), (-31 * DAY_S, "too_old")]
)
async def test_a_genuine_ticket_of_an_absurd_time_settles_nothing(
    stage: Stage, books: Books, moved_s: int, reason: str
) -> None:
    """A ticket of the right secret from the future, or a month old, is left to a person."""
    customer = await stage.customer(10 * CREDIT)
    admitted = await admit(stage, customer)
    ticket = opened(stage, admitted.ticket)
    odd = msgspec.structs.replace(ticket, admitted_us=ticket.admitted_us + moved_s * MICROS)
    async with counts(stage, "refused", 1, reason=reason):
        await tell_sink(stage, [message(entry(seal_of(stage).sign(odd)))])
    reading = await books.read(customer.account_id)
    assert reading.quarantine == [reason]
    assert (reading.posted_nanos, reading.events) == (10 * CREDIT, [])
    await end(stage, admitted)
    after = await books.settled(customer, admitted=1)
    assert (after.posted_nanos, after.states) == (9 * CREDIT, {"settled": 1})
