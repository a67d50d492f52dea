"""Tickets of form 1: two that were signed when it was the only one, and how it was written."""

import hashlib
from base64 import urlsafe_b64encode

import msgspec

from billing.ticket import Ticket

FIRST_SECRET = b"old secret, 16 bytes"
_PING = Ticket(
    "0198c0de-0000-7000-8000-000000000001",
    "0198c0de-0000-7000-8000-00000000000a",
    "0198c0de-0000-7000-8000-00000000000b",
    route="ping",
    profile="llm",
    price_version="v1",
    held_nanos=1_000,
    quoted_nanos=1_000,
    admitted_us=1_760_000_000_000_000,
    expires_s=1_760_000_600,
    shares="",
    basis={},
)
_ETHEREUM = msgspec.structs.replace(
    _PING,
    route="ethereum",
    profile="rpc",
    price_version="2026-01",
    held_nanos=2**62,
    quoted_nanos=2**62 - 1,
    admitted_us=1_760_000_000_123_456,
    shares=(
        f"|units:rpc~1759276800~2|period:rpc~1759276800~{2**62}|day:rpc~1759968000~{2**62}"
        "|flight:rpc~0~1"
    ),
    basis={"calls": {"eth_call": 2, "trace_block": 1}},
    tariff="nodes",
)
_ETHEREUM_TEXT = (
    "1.nNkkMDE5OGMwZGUtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAx2SQwMTk4YzBkZS0wMDAwLTcwMDAtODAwMC0wMD"
    "AwMDAwMDAwMGHZJDAxOThjMGRlLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwYqhldGhlcmV1baNycGOnMjAyNi0wMc"
    "9AAAAAAAAAAM8__________88ABkC17s_iQNmVNDYxMTY4NjAxODQyNzM4NzkwNHwxNzYwMDAwNjAwfHVuaXRzOnJwY3"
    "4xNzU5Mjc2ODAwfjJ8cGVyaW9kOnJwY34xNzU5Mjc2ODAwfjQ2MTE2ODYwMTg0MjczODc5MDR8ZGF5OnJwY34xNzU5OT"
    "Y4MDAwfjQ2MTE2ODYwMTg0MjczODc5MDR8ZmxpZ2h0OnJwY34wfjGBpWNhbGxzgqhldGhfY2FsbAKrdHJhY2VfYmxvY2"
    "sBpW5vZGVz.oQiZeVtpUuhOssEP9p4LaA"
)
_ETHEREUM_RECORD = (
    f"{2**62}|1760000600|units:rpc~1759276800~2|period:rpc~1759276800~{2**62}"
    f"|day:rpc~1759968000~{2**62}|flight:rpc~0~1"
)
_PING_TEXT = (
    "1.m9kkMDE5OGMwZGUtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAx2SQwMTk4YzBkZS0wMDAwLTcwMDAtODAwMC0wMD"
    "AwMDAwMDAwMGHZJDAxOThjMGRlLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwYqRwaW5no2xsbaJ2Mc0D6M0D6M8ABk"
    "C17s4AAK8xMDAwfDE3NjAwMDA2MDCA.QaORwv3OdVJEUnjTI9yxdA"
)
FIRST_TICKETS = [
    (_ETHEREUM_TEXT, _ETHEREUM, _ETHEREUM_RECORD),
    (_PING_TEXT, _PING, "1000|1760000600"),
]
"""Text, what stands in it, and its record; the second is of the time before tickets named their
tariff."""


def sign_first(ticket: Ticket, secret: bytes, *, hold: str | None = None) -> str:
    """Write a ticket in form 1; ``hold`` in place of its record."""
    payload = msgspec.msgpack.encode(
        (
            ticket.reservation_id,
            ticket.account_id,
            ticket.key_id,
            ticket.route,
            ticket.profile,
            ticket.price_version,
            ticket.held_nanos,
            ticket.quoted_nanos,
            ticket.admitted_us,
            ticket.record() if hold is None else hold,
            ticket.basis,
            ticket.tariff,
        )
    )
    signed = b"1." + urlsafe_b64encode(payload).rstrip(b"=")
    key = hashlib.sha256(secret).digest()
    mac = hashlib.blake2b(signed, key=key, digest_size=16).digest()
    return (signed + b"." + urlsafe_b64encode(mac).rstrip(b"=")).decode()
