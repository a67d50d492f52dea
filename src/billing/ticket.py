"""The ticket: what the front door tells the back door, through Envoy's dynamic metadata.

It carries everything that pricing and settlement need, so an access-log entry can be settled by any
process, from the stream or from a file, at any time. It is text in one of two forms:

* ``2.<reservation>.<account>.<key>.<rest>.<mac>`` is what is signed. The ids stand as they are, so
  they can be found in a log and cost nobody a conversion. The rest is msgpack of :class:`_Rest`.
* ``1.<payload>.<mac>`` was signed before, and is opened as long as there are logs that hold it. The
  payload is msgpack of :class:`_First`.

The MAC is a keyed BLAKE2b (RFC 7693) over the text before the last dot: in form 2 personalised and
of 18 bytes, which fill their base64; in form 1 of 16 bytes. What is binary is in base64 (RFC 4648):
in form 2 as its section 4 has it, in form 1 as section 5 and without padding.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from billing.shares import UsualShares

MIN_SECRET_BYTES = 16
MAX_TICKET_CHARS = 16_384
"""A longer ticket is refused unread; a batch of 1 000 calls over 100 methods needs about 3 000."""
DOTS = 4
"""In what is signed in form 2."""

US_PER_S = 1_000_000
_URL_SAFE, _USUAL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """One admitted request.

    The ids are UUIDs in their usual spelling. ``held_nanos`` is what was reserved, ``quoted_nanos``
    the most that was quoted. ``admitted_us`` is Unix time in microseconds, ``expires_s`` the end of
    the reservation's lifetime in Unix seconds. ``shares`` are its shares in budgets; text, as a
    record has them, where they are not the usual ones. ``basis`` is what the meter needs to price
    the answer. ``tariff`` is by its name in that price version; a route may have another one
    meanwhile, or be gone. The first tickets did not name it.
    """

    reservation_id: str
    account_id: str
    key_id: str
    route: str
    profile: str
    price_version: str
    held_nanos: int
    quoted_nanos: int
    admitted_us: int
    expires_s: int
    shares: UsualShares | str
    basis: dict[str, Any]
    tariff: str = ""

    def record(self) -> str:
        """The reservation's record, to the letter what :meth:`billing.reservations.Hold.record`
        wrote."""
        shares, held_nanos = self.shares, self.held_nanos
        if not isinstance(shares, str):
            shares = shares.write(self.profile, held_nanos, self.admitted_us)
        return f"{held_nanos}|{self.expires_s}{shares}"


@dataclass(frozen=True, slots=True)
class Forged:
    """A text that is no ticket of this installation; ``reason`` is one of a bounded set of
    words."""

    reason: str


class _Rest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What form 2 carries beside the ids; ``quoted_nanos`` only where it is not what is held, the
    lifetime from the second of the admission on. Later fields may only be added at the end."""

    route: str
    profile: str
    price_version: str
    tariff: str
    held_nanos: int
    quoted_nanos: int | None
    admitted_us: int
    lifetime_s: int
    shares: UsualShares | str
    basis: dict[str, Any]


class _First(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The payload of form 1; ``hold`` is the whole record."""

    reservation_id: str
    account_id: str
    key_id: str
    route: str
    profile: str
    price_version: str
    held_nanos: int
    quoted_nanos: int
    admitted_us: int
    hold: str
    basis: dict[str, Any]
    tariff: str = ""


class TicketSeal:
    """Signs and opens tickets. The first secret signs; all of them open, so secrets can rotate."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
            raise ValueError(f"a ticket secret needs at least {MIN_SECRET_BYTES} bytes")
        keys = [hashlib.sha256(secret).digest() for secret in secrets]
        # Macs that have taken in their key, which is a third of the work, and wait for a text.
        self._macs = [
            hashlib.blake2b(key=key, digest_size=18, person=b"ticket, form 2") for key in keys
        ]
        self._first_macs = [hashlib.blake2b(key=key, digest_size=16) for key in keys]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(_Rest)
        self._first_decoder = msgspec.msgpack.Decoder(_First)

    def sign(self, ticket: Ticket) -> str:
        """Write a ticket as text that Envoy carries in metadata and in its log file.

        Raises ``ValueError`` for ids that hold a dot.
        """
        held_nanos, quoted_nanos = ticket.held_nanos, ticket.quoted_nanos
        admitted_us = ticket.admitted_us
        rest = self._encoder.encode(
            (  # in the order of `_Rest`, whose making would cost as much as this
                ticket.route,
                ticket.profile,
                ticket.price_version,
                ticket.tariff,
                held_nanos,
                None if quoted_nanos == held_nanos else quoted_nanos,
                admitted_us,
                ticket.expires_s - admitted_us // US_PER_S,
                ticket.shares,
                ticket.basis,
            )
        )
        head = f"2.{ticket.reservation_id}.{ticket.account_id}.{ticket.key_id}."
        signed = head.encode() + b2a_base64(rest, newline=False)
        if signed.count(b".") != DOTS:
            raise ValueError(f"an id with a dot in it: {head}")
        return (signed + b"." + _mac(self._macs[0], signed)).decode()

    def open(self, text: str) -> Ticket | Forged:
        """Read a ticket back, or say why it is none of ours; never raises."""
        if len(text) > MAX_TICKET_CHARS:
            return Forged("too_long")
        if not text.isascii():
            return Forged("not_a_ticket")
        signed, _, given = text.rpartition(".")
        try:
            if signed.startswith("2."):
                return self._open_second(signed, given.encode())
            if signed.startswith("1."):
                return self._open_first(signed.encode(), given.encode())
        except (ValueError, msgspec.DecodeError):
            return Forged("unreadable")
        return Forged("not_a_ticket")

    def _open_second(self, signed: str, given: bytes) -> Ticket | Forged:
        text = signed.encode()
        for keyed in self._macs:
            if hmac.compare_digest(_mac(keyed, text), given):
                break
        else:
            return Forged("wrong_mac")
        _, reservation_id, account_id, key_id, coded = signed.split(".")
        rest = self._decoder.decode(a2b_base64(coded))
        held_nanos, quoted_nanos, admitted_us = rest.held_nanos, rest.quoted_nanos, rest.admitted_us
        return Ticket(
            reservation_id,
            account_id,
            key_id,
            rest.route,
            rest.profile,
            rest.price_version,
            held_nanos,
            held_nanos if quoted_nanos is None else quoted_nanos,
            admitted_us,
            admitted_us // US_PER_S + rest.lifetime_s,
            rest.shares,
            rest.basis,
            rest.tariff,
        )

    def _open_first(self, signed: bytes, given: bytes) -> Ticket | Forged:
        for keyed in self._first_macs:
            if hmac.compare_digest(_mac(keyed, signed).translate(_URL_SAFE).rstrip(b"="), given):
                payload = signed[2:].translate(_USUAL)
                padding = b"=" * (-len(payload) % 4)
                return _from_first(self._first_decoder.decode(a2b_base64(payload + padding)))
        return Forged("wrong_mac")


def _mac(keyed: hashlib.blake2b, signed: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(signed)
    return b2a_base64(mac.digest(), newline=False)


def _from_first(first: _First) -> Ticket:
    """The ticket of a payload of form 1; ``ValueError`` for a record that is none."""
    amount, expires = first.hold.split("|", 2)[:2]
    shares = first.hold[len(amount) + 1 + len(expires) :]
    ticket = Ticket(
        first.reservation_id,
        first.account_id,
        first.key_id,
        first.route,
        first.profile,
        first.price_version,
        first.held_nanos,
        first.quoted_nanos,
        first.admitted_us,
        int(expires),
        shares,
        first.basis,
        first.tariff,
    )
    if ticket.record() != first.hold:
        raise ValueError("the record says another amount than the ticket")
    return ticket
