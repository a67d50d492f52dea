"""The ticket: what the front door tells the back door, through Envoy's dynamic metadata.

A ticket is ``1.<payload>.<mac>``: the payload is msgpack in base64url, the MAC a keyed BLAKE2b of
16 bytes over the text before the last dot (RFC 7693). It carries everything that pricing and
settlement need, so an access-log entry can be settled by any process, from the stream or from a
file, at any time.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

VERSION = "1"
MAC_BYTES = 16
MIN_SECRET_BYTES = 16
MAX_TICKET_CHARS = 16_384
"""A longer ticket is refused unread; a batch of 1 000 calls over 100 methods needs about 3 000."""
_URL_SAFE, _USUAL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """One admitted request.

    ``held_nanos`` is what was reserved, ``quoted_nanos`` the most that was quoted. ``admitted_us``
    is Unix time in microseconds. ``hold`` is the reservation's record
    (:mod:`billing.reservations`) and ``basis`` what the meter needs to price the answer.
    ``tariff`` is by its name in that price version; a route may have another one meanwhile, or be
    gone. Tickets of older versions do not name it.
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
    hold: str
    basis: dict[str, Any]
    tariff: str = ""


@dataclass(frozen=True, slots=True)
class Forged:
    """A text that is no ticket of this installation; ``reason`` is one of a bounded set of
    words."""

    reason: str


class TicketSeal:
    """Signs and opens tickets. The first secret signs; all of them open, so secrets can rotate."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
            raise ValueError(f"a ticket secret needs at least {MIN_SECRET_BYTES} bytes")
        self._macs = [_mac_of(hashlib.sha256(secret).digest()) for secret in secrets]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Ticket)

    def sign(self, ticket: Ticket) -> str:
        """Write a ticket as text that Envoy carries in metadata and in its log file."""
        payload = urlsafe_b64encode(self._encoder.encode(ticket)).rstrip(b"=")
        body = b"1." + payload
        return (body + b"." + _mac(self._macs[0], body)).decode()

    def open(self, text: str) -> Ticket | Forged:
        """Read a ticket back, or say why it is none of ours; never raises."""
        if len(text) > MAX_TICKET_CHARS:
            return Forged("too_long")
        if not text.isascii():
            return Forged("not_a_ticket")
        signed, _, given = text.encode().rpartition(b".")
        if not signed.startswith(b"1."):
            return Forged("not_a_ticket")
        for keyed in self._macs:
            if hmac.compare_digest(_mac(keyed, signed), given):
                break
        else:
            return Forged("wrong_mac")
        try:
            return self._decoder.decode(_unpad(signed[2:]))
        except (ValueError, msgspec.DecodeError):
            return Forged("unreadable")


def _mac_of(key: bytes) -> hashlib.blake2b:
    """A MAC that has taken in its key, which is a third of the work, and waits for a text."""
    return hashlib.blake2b(key=key, digest_size=MAC_BYTES)


def _mac(keyed: hashlib.blake2b, body: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(body)
    digest = mac.digest()
    return b2a_base64(digest, newline=False).translate(_URL_SAFE).rstrip(b"=")


def _unpad(payload: bytes) -> bytes:
    return a2b_base64(payload.translate(_USUAL) + b"=" * (-len(payload) % 4))
