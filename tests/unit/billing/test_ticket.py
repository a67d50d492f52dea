"""Tickets: what is signed comes back, and nothing else is believed."""

from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ticket import MAX_TICKET_CHARS, MIN_SECRET_BYTES, Forged, Ticket, TicketSeal, _mac

OLD, NEW, FOREIGN = b"old secret, 16 bytes", b"new secret, 16 bytes", b"of another installation"

TICKET = Ticket(
    reservation_id="0198c0de-0000-7000-8000-000000000001",
    account_id="0198c0de-0000-7000-8000-00000000000a",
    key_id="0198c0de-0000-7000-8000-00000000000b",
    route="ethereum",
    profile="rpc",
    price_version="2026-01",
    held_nanos=2**62,
    quoted_nanos=2**62,
    admitted_us=1_760_000_000_000_000,
    hold="100|1760000600|units:rpc~1759276800~2",
    basis={"calls": {"eth_call": 2, "trace_block": 1}},
)


@pytest.fixture
def seal() -> TicketSeal:
    """A seal of one secret."""
    return TicketSeal([NEW])


def forge(payload: bytes, secret: bytes = NEW) -> str:
    """Any payload under a right MAC, as only a holder of the secret can make."""
    body = b"1." + urlsafe_b64encode(payload).rstrip(b"=")
    return (body + b"." + _mac(TicketSeal([secret])._macs[0], body)).decode()


def test_a_ticket_comes_back(seal: TicketSeal) -> None:
    """Every field survives the way through Envoy, amounts near 2^62 to the last nano included."""
    assert seal.open(seal.sign(TICKET)) == TICKET


def test_a_ticket_is_text_that_metadata_and_logs_carry(seal: TicketSeal) -> None:
    """Printable ASCII without anything that JSON or a header would have to escape."""
    text = seal.sign(TICKET)
    assert text.isascii()
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


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


def test_any_changed_character_is_forged(seal: TicketSeal) -> None:
    """Each single character of the text is covered: payload, version and MAC."""
    text = seal.sign(TICKET)
    for at, character in enumerate(text):
        changed = text[:at] + ("A" if character != "A" else "B") + text[at + 1 :]
        assert isinstance(seal.open(changed), Forged), at


@pytest.mark.parametrize("text", ["", ".", "1.", "no dots at all", "2.abc.def", "1.abc.dé"])
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
    assert seal.open("1." + "A" * MAX_TICKET_CHARS) == Forged("too_long")
    assert seal.open("A" * MAX_TICKET_CHARS) == Forged("not_a_ticket")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode(["1", "a", "k", "r", "p", "v", "many", 1, 1, "h", {}]),
    ],
)
def test_a_signed_payload_of_another_shape_is_unreadable(seal: TicketSeal, payload: bytes) -> None:
    """A right MAC over something else, of another version for example, raises nothing."""
    assert seal.open(forge(payload)) == Forged("unreadable")


@given(st.text(alphabet="1.AZaz09-_=é\n ", max_size=80))
def test_no_text_raises(text: str) -> None:
    """Whatever a log file holds, opening answers."""
    assert isinstance(TicketSeal([NEW]).open(text), Forged)


@pytest.mark.parametrize("secrets", [[], [b"x" * (MIN_SECRET_BYTES - 1)], [NEW, b""]])
def test_a_weak_secret_is_refused(secrets: list[bytes]) -> None:
    """An installation without a secret, or with a short one among several, does not start."""
    with pytest.raises(ValueError, match="at least 16 bytes"):
        TicketSeal(secrets)
