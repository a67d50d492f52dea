"""Entries to what has to be done about them; what is forged or absurd never reaches the ledger."""

import json

import pytest

from accesslog.judge import Extension
from accesslog.settings import AccessLogSettings, JudgeSettings
from billing.catalog import Catalog
from billing.ticket import TicketSeal
from tests.unit.accesslog.door import (
    CATALOG,
    NOW_S,
    SECRET,
    make_entry,
    make_ticket,
    open_door,
)
from tests.unit.billing.first_tickets import sign_first

HOUR_US = 3_600 * 1_000_000
DAY_US = 24 * HOUR_US


async def test_each_entry_is_counted_by_route_and_row() -> None:
    """Settled, released and ongoing entries are told apart, and bounded names are counted."""
    door = await open_door()
    ticket = make_ticket(1)
    judged = door.desk.judge.judge(
        [
            door.entry(ticket),
            door.entry(make_ticket(2), code=503),
            door.entry(make_ticket(3), ongoing=True),
            door.entry(make_ticket(4, route="gone")),
        ]
    )
    assert len(judged.priced) == 3
    assert judged.decided == {
        ("chat", "answered"): 1,
        ("chat", "upstream_failed"): 1,
        ("chat", "still_running"): 1,
        ("(unknown)", "answered"): 1,
    }
    assert judged.quarantine == []


async def test_a_stream_that_goes_on_lives_as_long_again() -> None:
    """An ongoing entry asks for a lifetime from now, whatever usage it names."""
    door = await open_door()
    ticket = make_ticket(1)
    door.clock.forward(500)
    judged = door.desk.judge.judge([door.entry(ticket, ongoing=True)])
    assert judged.priced == []
    assert judged.extensions == [
        Extension(ticket.account_id, ticket.reservation_id, NOW_S + 500 + 600)
    ]


async def test_an_absurd_lifetime_is_bounded() -> None:
    """A hold of a thousand years is extended by the longest age of a ticket at most."""
    door = await open_door()
    ticket = make_ticket(1, expires_s=NOW_S * 20)
    (extension,) = door.desk.judge.judge([door.entry(ticket, ongoing=True)]).extensions
    assert extension.expires_s == NOW_S + 30 * 86_400


@pytest.mark.parametrize(
    ("ticket", "reason"),
    [
        ("", "not_a_ticket"),
        ("nonsense", "not_a_ticket"),
        ("1.abc.def", "wrong_mac"),
        ("2.abc.def", "wrong_mac"),
        ("3.abc.def", "not_a_ticket"),
        ("2." + "x" * 20, "not_a_ticket"),
        ("1." + "x" * 20_000, "too_long"),
        ("1.\u00e9.x", "not_a_ticket"),
    ],
)
async def test_a_forged_ticket_is_told_and_kept(ticket: str, reason: str) -> None:
    """What is no ticket of ours is counted, reported, quarantined, and never settled."""
    door = await open_door()
    judged = door.desk.judge.judge([make_entry(ticket)])
    assert judged.priced == []
    assert judged.refused == {f"ticket_{reason}": 1}
    (row,) = judged.quarantine
    assert (row.account_id, row.reservation_id, row.reason) == (None, None, f"ticket_{reason}")
    assert json.loads(row.entry)["ticket"] == ticket
    assert len(door.told) == 1
    assert reason in door.told[0]


async def test_a_ticket_of_another_installation_is_forged() -> None:
    """Another secret's ticket, and ours with one character changed, are refused alike."""
    door = await open_door()
    foreign = TicketSeal([b"of another installation"]).sign(make_ticket(1))
    ours = door.seal.sign(make_ticket(1))
    changed = ours.replace(ours[20], "A" if ours[20] != "A" else "B", 1)
    judged = door.desk.judge.judge([make_entry(foreign), make_entry(changed)])
    assert judged.refused == {"ticket_wrong_mac": 2}
    assert judged.priced == []


async def test_a_ticket_of_the_first_form_is_settled_alike() -> None:
    """What was admitted before an upgrade, or stands in an old log file, has the same price."""
    door = await open_door()
    tickets = [make_ticket(1), make_ticket(2, route="chat-charged")]
    entries = [make_entry(text) for text in map(door.seal.sign, tickets)]
    before = [make_entry(sign_first(ticket, SECRET)) for ticket in tickets]
    judged, judged_before = door.desk.judge.judge(entries), door.desk.judge.judge(before)
    assert [p.settlement for p in judged.priced] == [p.settlement for p in judged_before.priced]
    assert len(judged.priced) == 2


async def test_a_flood_of_forged_tickets_is_counted_and_not_kept() -> None:
    """Of each minute only so many forged entries are kept, and people are told once."""
    door = await open_door(AccessLogSettings(judge=JudgeSettings(forged_per_minute=3)))
    judged = door.desk.judge.judge([make_entry(f"forged {n}") for n in range(50)])
    assert judged.refused == {"ticket_not_a_ticket": 50}
    assert len(judged.quarantine) == 3
    assert len(door.told) == 1
    door.clock.forward(60)
    assert len(door.desk.judge.judge([make_entry("forged again")]).quarantine) == 1
    assert "49 more" in door.told[1]


@pytest.mark.parametrize(
    ("offset_us", "reason"),
    [
        (HOUR_US + 1, "from_the_future"),
        (365 * DAY_US, "from_the_future"),
        (HOUR_US, ""),
        (-HOUR_US, ""),
        (-30 * DAY_US, ""),
        (-30 * DAY_US - 1, "too_old"),
        (-365 * DAY_US, "too_old"),
    ],
)
async def test_times_that_cannot_be_are_kept_for_a_person(offset_us: int, reason: str) -> None:
    """Tickets from the future or of last year wait in quarantine; clocks off by minutes do not."""
    door = await open_door()
    ticket = make_ticket(1, door.clock.us + offset_us)
    judged = door.desk.judge.judge([door.entry(ticket)])
    assert bool(judged.priced) == (not reason)
    if reason:
        (row,) = judged.quarantine
        assert (row.reservation_id, row.reason) == (ticket.reservation_id, reason)
        assert judged.refused == {reason: 1}


async def test_one_entry_that_cannot_be_priced_does_not_hold_up_the_rest() -> None:
    """A fault of pricing sets its entry apart, with the ticket's ids, and the others go on."""
    door = await open_door()
    broken = make_ticket(1, route="chat-charged", shares="|no share")
    entries = [door.entry(broken, usage={}), door.entry(make_ticket(2))]
    judged = door.desk.judge.judge(entries)
    assert [p.settlement.reservation_id for p in judged.priced] == [make_ticket(2).reservation_id]
    (row,) = judged.quarantine
    assert (row.account_id, row.reason) == (broken.account_id, "pricing_failed")
    assert door.told[0].startswith("pricing_failed")


async def test_the_catalog_of_the_moment_is_used() -> None:
    """A changed catalog counts from the next batch on; the ticket's version still prices."""
    catalogs = [Catalog({}, {}, CATALOG.prices), CATALOG]
    door = await open_door(catalog=lambda: catalogs[0])
    entry = door.entry(make_ticket(1))
    assert door.desk.judge.judge([entry]).priced[0].settlement.review == "unknown_route"
    del catalogs[0]
    assert door.desk.judge.judge([entry]).priced[0].settlement.review == ""
