"""Tickets: what is signed comes back, in both forms, and nothing else is believed."""

import string
from binascii import b2a_base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.shares import DAY, FLIGHT, UNITS, UsualShares
from billing.ticket import MAX_TICKET_CHARS, MIN_SECRET_BYTES, Forged, Ticket, TicketSeal, _mac
from tests.unit.billing.first_tickets import (
    FIRST_SECRET,
    FIRST_TICKETS,
    sign_first,
)

OLD, NEW, FOREIGN = b"old secret, 16 bytes", b"new secret, 16 bytes", b"of another installation"
REASONS = {"too_long", "not_a_ticket", "wrong_mac", "unreadable"}


TICKET = Ticket(
    reservation_id="0198c0de-0000-7000-8000-000000000001",
    account_id="0198c0de-0000-7000-8000-00000000000a",
    key_id="0198c0de-0000-7000-8000-00000000000b",
    route="ethereum",
    profile="rpc",
    price_version="2026-01",
    held_nanos=2**62,
    quoted_nanos=2**62,
    admitted_us=1_760_000_000_123_456,
    expires_s=1_760_000_600,
    shares=UsualShares(UNITS | DAY | FLIGHT, 1_759_276_800, 2),
    basis={"calls": {"eth_call": 2, "trace_block": 1}},
    tariff="nodes",
)
IDS = f"{TICKET.reservation_id}.{TICKET.account_id}.{TICKET.key_id}"
REST: list[Any] = ["ping", "llm", "v1", "flat", 5, None, 1_760_000_000_123_456, 600, [0, 0, 0], {}]

names = st.text(max_size=40)
nanos = st.integers(0, 2**62)
usual = st.builds(UsualShares, st.integers(0, 15), st.integers(0, 2**40), st.integers(0, 2**53))
texts = st.text(alphabet="|~:0123456789abcdef", max_size=80).map(lambda text: text and f"|{text}")
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | names
tickets = st.builds(
    Ticket,
    *[st.uuids().map(str)] * 3,
    *[names] * 3,
    *[nanos] * 2,
    st.integers(0, 2**53),
    st.integers(0, 2**40),
    usual | texts,
    st.dictionaries(names, scalars | st.dictionaries(names, st.integers(0, 2**40)), max_size=4),
    names,
)


@pytest.fixture
def seal() -> TicketSeal:
    """A seal of one secret."""
    return TicketSeal([NEW])


def forge(rest: bytes, secret: bytes = NEW, ids: str = IDS) -> str:
    """Any rest under a right MAC, as only a holder of the secret can make."""
    signed = f"2.{ids}.".encode() + b2a_base64(rest, newline=False)
    return (signed + b"." + _mac(TicketSeal([secret])._macs[0], signed)).decode()


@given(tickets)
def test_every_ticket_comes_back(ticket: Ticket) -> None:
    """Whatever can be drawn up is read back equal, to the last nano and microsecond."""
    assert TicketSeal([NEW]).open(TicketSeal([NEW]).sign(ticket)) == ticket


def test_a_ticket_is_text_that_metadata_and_logs_carry(seal: TicketSeal) -> None:
    """Printable ASCII without anything that JSON or a header would have to escape."""
    text = seal.sign(TICKET)
    assert set(text) <= set(string.ascii_letters + string.digits + "+/=-.")
    assert text.split(".")[:4] == ["2", *IDS.split(".")]


def test_a_ticket_is_short(seal: TicketSeal) -> None:
    """What travels in each answer and each line of the log: a flat route with all four budgets."""
    ticket = msgspec.structs.replace(
        TICKET,
        held_nanos=1_000_000,
        quoted_nanos=1_000_000,
        shares=UsualShares(15, 1_759_276_800, 1),
        basis={},
    )
    assert len(seal.sign(ticket)) <= 220


def test_signing_twice_gives_the_same_text(seal: TicketSeal) -> None:
    """Two doors that sign one admission agree."""
    assert seal.sign(TICKET) == seal.sign(TICKET)


def test_secrets_rotate() -> None:
    """The first secret signs; tickets of the one before still open; a dropped one is forged."""
    before, during, after = TicketSeal([OLD]), TicketSeal([NEW, OLD]), TicketSeal([NEW])
    issued = before.sign(TICKET)
    assert during.open(issued) == TICKET
    assert after.open(during.sign(TICKET)) == TICKET
    assert after.open(issued) == Forged("wrong_mac")


def test_a_ticket_of_another_installation_is_forged(seal: TicketSeal) -> None:
    """Another secret's tickets never open."""
    assert seal.open(TicketSeal([FOREIGN]).sign(TICKET)) == Forged("wrong_mac")


@pytest.mark.parametrize(
    ("secret", "text"), [(NEW, TicketSeal([NEW]).sign(TICKET)), (FIRST_SECRET, FIRST_TICKETS[0][0])]
)
def test_any_changed_character_is_forged(secret: bytes, text: str) -> None:
    """Each single character of the text is covered: version, ids, payload, MAC and their dots."""
    seal = TicketSeal([secret])
    assert isinstance(seal.open(text), Ticket)
    for at, character in enumerate(text):
        for other in {"A", "B", "0", ".", "=", "+", "-", " ", "é", "2", "1"} - {character}:
            assert isinstance(seal.open(text[:at] + other + text[at + 1 :]), Forged), (at, other)
        assert isinstance(seal.open(text[:at] + text[at + 1 :]), Forged), at
        assert isinstance(seal.open(text[:at] + "A" + text[at:]), Forged), at


@given(tickets, st.data())
def test_any_change_of_any_ticket_is_forged(ticket: Ticket, data: st.DataObject) -> None:
    """Another character anywhere, and nobody believes it; the reasons are few."""
    seal = TicketSeal([NEW])
    text = seal.sign(ticket)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda found: found != text[at]))
    found = seal.open(text[:at] + other + text[at + 1 :])
    assert isinstance(found, Forged)
    assert found.reason in REASONS


@pytest.mark.parametrize("text", ["", ".", "1.", "2.", "no dots at all", "3.abc.def", "2.abc.dé"])
def test_what_is_no_ticket_at_all(seal: TicketSeal, text: str) -> None:
    """Text of another form is told from a ticket with a wrong MAC."""
    assert seal.open(text) == Forged("not_a_ticket")


def test_a_ticket_without_its_mac(seal: TicketSeal) -> None:
    """Cutting the MAC off does not make a ticket."""
    body, _, _ = seal.sign(TICKET).rpartition(".")
    assert isinstance(seal.open(body), Forged)
    assert seal.open(body + ".") == Forged("wrong_mac")


def test_a_long_text_is_refused_unread(seal: TicketSeal) -> None:
    """The bound is on characters, before any cryptography; the bound itself still opens."""
    assert seal.open("2." + "A" * MAX_TICKET_CHARS) == Forged("too_long")
    assert seal.open("A" * MAX_TICKET_CHARS) == Forged("not_a_ticket")
    spare = MAX_TICKET_CHARS - len(seal.sign(msgspec.structs.replace(TICKET, tariff="")))
    fits = msgspec.structs.replace(TICKET, tariff="t" * (spare * 3 // 4 - 6))
    assert MAX_TICKET_CHARS - 8 < len(seal.sign(fits)) <= MAX_TICKET_CHARS
    assert seal.open(seal.sign(fits)) == fits


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode([*REST[:4], "many", *REST[5:]]),
        msgspec.msgpack.encode([*REST[:8], [0, 0], {}]),
        msgspec.msgpack.encode(REST) + b"\0",
    ],
)
def test_a_signed_rest_of_another_shape_is_unreadable(seal: TicketSeal, rest: bytes) -> None:
    """A right MAC over something else, of another version for example, raises nothing."""
    assert seal.open(forge(rest)) == Forged("unreadable")


@pytest.mark.parametrize("ids", ["", "a", "a.b", "a.b.c.d"])
def test_a_signed_text_with_other_ids_is_unreadable(seal: TicketSeal, ids: str) -> None:
    """Three ids, neither fewer nor more."""
    assert seal.open(forge(msgspec.msgpack.encode(REST), ids=ids)) == Forged("unreadable")


def test_what_later_versions_add_is_left(seal: TicketSeal) -> None:
    """Fields at the end that this version does not know do not keep it from settling."""
    found = seal.open(forge(msgspec.msgpack.encode([*REST, "later", 7])))
    assert isinstance(found, Ticket)
    assert (found.route, found.quoted_nanos, found.expires_s) == ("ping", 5, 1_760_000_600)


def test_an_id_with_a_dot_is_not_signed(seal: TicketSeal) -> None:
    """It would be read back as two; ids are UUIDs."""
    with pytest.raises(ValueError, match="a dot"):
        seal.sign(msgspec.structs.replace(TICKET, key_id="a.b"))


def test_a_ticket_writes_its_record() -> None:
    """As the hold wrote it: the usual shares from numbers, others as they are."""
    assert TICKET.record() == (
        f"{2**62}|1760000600|units:rpc~1759276800~2|day:rpc~1759968000~{2**62}|flight:rpc~0~1"
    )
    other = msgspec.structs.replace(TICKET, held_nanos=7, shares="|tokens:rpc~5~6")
    assert other.record() == "7|1760000600|tokens:rpc~5~6"


@given(st.text(alphabet="12.AZaz09+/-_=é\n ", max_size=80))
def test_no_text_raises(text: str) -> None:
    """Whatever a log file holds, opening answers, with one of a few reasons."""
    found = TicketSeal([NEW]).open(text)
    assert isinstance(found, Forged)
    assert found.reason in REASONS


@pytest.mark.parametrize("secrets", [[], [b"x" * (MIN_SECRET_BYTES - 1)], [NEW, b""]])
def test_a_weak_secret_is_refused(secrets: list[bytes]) -> None:
    """An installation without a secret, or with a short one among several, does not start."""
    with pytest.raises(ValueError, match="at least 16 bytes"):
        TicketSeal(secrets)


@pytest.mark.parametrize(("text", "ticket", "record"), FIRST_TICKETS)
def test_tickets_of_the_first_form_are_opened(text: str, ticket: Ticket, record: str) -> None:
    """What was signed before form 2, with a tariff and without, under a rotated secret too."""
    assert TicketSeal([FIRST_SECRET]).open(text) == ticket
    assert TicketSeal([NEW, FIRST_SECRET]).open(text) == ticket
    assert TicketSeal([NEW]).open(text) == Forged("wrong_mac")
    assert ticket.record() == record


@given(tickets)
def test_every_ticket_of_the_first_form_comes_back(ticket: Ticket) -> None:
    """With the same content, whichever form it travels in."""
    found = TicketSeal([NEW]).open(sign_first(ticket, NEW))
    assert isinstance(found, Ticket)
    assert found.record() == ticket.record()
    assert found == msgspec.structs.replace(ticket, shares=found.shares)


@pytest.mark.parametrize("hold", ["no record", "1|2", f"{2**62}|soon", f"{2**62}", ""])
def test_a_first_ticket_with_a_broken_record_is_unreadable(seal: TicketSeal, hold: str) -> None:
    """Its record names another amount than it does, or none."""
    assert seal.open(sign_first(TICKET, NEW, hold=hold)) == Forged("unreadable")


def test_one_form_is_not_taken_for_the_other(seal: TicketSeal) -> None:
    """A MAC of form 1 over a text of form 2 is none, and the other way round."""
    second, _, _ = seal.sign(TICKET).rpartition(".")
    first_mac = _mac(seal._first_macs[0], second.encode()).decode()
    assert seal.open(f"{second}.{first_mac}") == Forged("wrong_mac")
    first, _, _ = sign_first(TICKET, NEW).rpartition(".")
    second_mac = _mac(seal._macs[0], first.encode()).decode()
    assert seal.open(f"{first}.{second_mac}") == Forged("wrong_mac")
