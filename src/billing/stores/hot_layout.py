"""How the hot copy in Redis is written, for the scripts and by them; ``hot_counts.lua`` says it.

Lua's numbers are doubles, so what it counts is below 2^53. Amounts of credits may be larger, and
are written as texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from struct import Struct, unpack

import msgspec

from billing.lease_calls import LeaseCall
from billing.rate import RATE_KIND
from billing.reservations import Budget, Hold, Publication, Record, Truth, Used, parse_record

MOST_BUDGETS = 127
"""Counted budgets of one request: their number is one byte, as UTF-8 writes it."""

LEASE_HEAD_BYTES = 8
"""Before the record of what is left of a lease: the number of its last call."""

_pack = msgspec.msgpack.Encoder().encode
_RATE = f"{RATE_KIND}:"
_bytes = [chr(number) for number in range(MOST_BUDGETS + 1)]
LEASE_NUMBERS = 11
"""Numbers of a lease's call that it has without budgets."""

_integers = [Struct(f"<{count}q").pack for count in range(3 * MOST_BUDGETS + LEASE_NUMBERS + 1)]


def account_key(account_id: str) -> str:
    """The key of an account's copy; the braces keep it in one slot of a Cluster."""
    return f"tk:{{{account_id}}}"


def reservation_field(reservation_id: str) -> str:
    """The field of a live reservation."""
    return f"#{reservation_id}"


def write_hold(hold: Hold) -> bytes:
    """One request, for ``admit.lua``."""
    budgets, rate = hold.budgets, hold.rate
    count = len(budgets)
    # Being strict takes a tenth of the time here, and named tuples are of one length anyway.
    names, windows, limits, amounts = zip(*budgets) if count else ((), (), (), ())  # noqa: B905
    rate_name, interval_us, burst, now_us = rate if rate is not None else ("", 0, 0, 0)
    byte = _bytes[count]
    texts = (
        f"{byte}#{hold.reservation_id}\0{rate_name}\0{byte}{hold.amount_nanos}\0{'|'.join(names)}\0"
    )
    return texts.encode() + _integers[3 * count + 4](
        *windows, *amounts, hold.expires_s, *limits, interval_us, burst, now_us
    )


def write_lease_call(call: LeaseCall) -> bytes:
    """One lease, for ``lease.lua``."""
    hold = call.hold
    budgets, rate = hold.budgets, hold.rate
    count = len(budgets)
    names, windows, limits, amounts = zip(*budgets, strict=True) if count else ((), (), (), ())
    rate_name, interval_us, burst, now_us = rate if rate is not None else ("", 0, 0, 0)
    texts = f"{_bytes[count]}%{call.lease_id}\0{rate_name}\0{'|'.join(names)}\0"
    numbers = _integers[3 * count + LEASE_NUMBERS](
        call.number,
        call.step,
        call.wanted,
        hold.amount_nanos,
        call.expires_s,
        len(call.draws),
        call.turns,
        interval_us,
        burst,
        now_us,
        call.until_us,
        *windows,
        *amounts,
        *limits,
    )
    return texts.encode() + numbers + _write_draws(call.draws)


def _write_draws(draws: Sequence[Hold]) -> bytes:
    """Reservations: of each its field, and its record as :func:`write_record` has it.

    Those of one lease mostly differ in nothing but their ids and ends of life.
    """
    pieces: list[bytes] = []
    amount_nanos, same = -1, b""
    budgets: tuple[Budget, ...] = ()
    for draw in draws:
        if draw.budgets is not budgets or draw.amount_nanos != amount_nanos:
            amount_nanos, budgets = draw.amount_nanos, draw.budgets
            same = _write_shares(amount_nanos, budgets)
        pieces += (f"#{draw.reservation_id}\0".encode(), same, _integers[1](draw.expires_s))
    return b"".join(pieces)


def _write_shares(amount_nanos: int, budgets: Sequence[Budget]) -> bytes:
    """A record without its end of life."""
    count = len(budgets)
    names, windows, _, amounts = zip(*budgets, strict=True) if count else ((), (), (), ())
    texts = f"{_bytes[count]}{amount_nanos}\0{'|'.join(names)}\0"
    return texts.encode() + _integers[2 * count](*windows, *amounts)


def write_publication(said: Publication) -> bytes:
    """What Postgres says of an account and which reservations ended, for ``publish.lua``."""
    ended = [f"#{ident}" for ident in said.ended]
    return _pack((*_state(said), ended))


def write_truth(token: str, truth: Truth) -> tuple[bytes, bytes]:
    """What a copy is built from, for ``load.lua``: the account, and its live reservations."""
    live = [
        f"{reservation_field(ident)}\0".encode() + write_record(parse_record(text))
        for ident, text in truth.pending
    ]
    return _pack((token, *_state(truth))), b"".join(live)


def _state(said: Publication | Truth) -> tuple[str, str, str, tuple[object, ...]]:
    used = tuple(chain.from_iterable(said.used))
    return f"{said.posted_nanos}", f"{said.overdraft_nanos}", f"{said.version}", used


def write_record(record: Record) -> bytes:
    """A live reservation, as its field holds it."""
    shares = record.shares
    count = len(shares)
    names, windows, amounts = zip(*shares, strict=True) if count else ((), (), ())
    texts = f"{_bytes[count]}{record.amount_nanos}\0{'|'.join(names)}\0"
    return texts.encode() + _integers[2 * count + 1](*windows, *amounts, record.expires_s)


def read_record(stored: bytes) -> str:
    """The text of a live reservation (``reservations.Hold.record``)."""
    amount, names, packed = stored[1:].split(b"\0", 2)
    numbers = unpack(f"<{len(packed) // 8}q", packed)
    count = stored[0]
    shares = zip(names.decode().split("|"), numbers[:count], numbers[count:-1], strict=False)
    text = "".join([f"|{name}~{window}~{amount}" for name, window, amount in shares])
    return f"{amount.decode()}|{numbers[-1]}{text}"


def read_copy(account_id: str, fields: Mapping[bytes, bytes]) -> Truth | None:
    """The copy that a hash holds; None for a hash that is no copy of this layout."""
    if not fields.get(b"v", b"").startswith(b"-"):
        return None
    pending = [
        (name[1:].decode(), read_record(record))
        for name, record in fields.items()
        if name.startswith(b"#")
    ]
    leases = [
        (name[1:].decode(), read_record(kept[LEASE_HEAD_BYTES:]))
        for name, kept in fields.items()
        if name.startswith(b"%")
    ]
    posted, overdraft, version = (int(fields[name]) for name in (b"p", b"o", b"n"))
    return Truth(account_id, posted, overdraft, version, _read_used(fields), pending, leases)


def _read_used(fields: Mapping[bytes, bytes]) -> list[Used]:
    """What is used of each counted budget; rates stand among them and are none."""
    names = fields[b"b"].decode().split("|")[1:]
    numbers = unpack(f"<{3 * len(names)}d", fields[b"c"])
    return [
        Used(name, int(window), int(used))
        for name, window, used in zip(names, numbers[::3], numbers[1::3], strict=True)
        if not name.startswith(_RATE)
    ]
