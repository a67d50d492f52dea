"""A line of Envoy's JSON access log to values: the same :class:`Entry` that the stream gives.

The keys below are what ``tollkeeper envoy render`` makes Envoy write; the operators that fill them
are in the table. Envoy writes ``null`` (or ``-``) for what is not there.

======================= ======================================================================
key                     operator
======================= ======================================================================
ticket                  DYNAMIC_METADATA(envoy.filters.http.ext_authz:ticket)
usage                   DYNAMIC_METADATA(tollkeeper.usage), an object
response_headers        an object of RESP(name), names in lower case
start_time              START_TIME(%s.%6f): Unix seconds with microseconds
duration_ms             DURATION
response_code           RESPONSE_CODE
response_code_details   RESPONSE_CODE_DETAILS
response_flags          RESPONSE_FLAGS
request_bytes           BYTES_RECEIVED
response_bytes          BYTES_SENT
attempts                UPSTREAM_REQUEST_ATTEMPT_COUNT
access_log_type         ACCESS_LOG_TYPE
request_id              STREAM_ID
======================= ======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from accesslog.flags import read_flags, write_flags
from accesslog.values import MAX_INT, MAX_TEXT_CHARS, Entry, normal_scalar, normal_usage

FINAL_TYPES = frozenset({"DownstreamEnd", "NotSet"})
ONGOING_TYPES = frozenset(
    {"DownstreamStart", "DownstreamPeriodic", "DownstreamTunnelSuccessfullyEstablished"}
)
MICROS = 1_000_000


class NoEntry(ValueError):
    """The line is none of Envoy's entries in our format; the text says what was wrong with it."""


class Line(msgspec.Struct, gc=False):
    """The keys of one line, still as Envoy wrote them."""

    start_time: str | None
    response_code: int | str | None
    duration_ms: int | str | None = None
    ticket: str | None = None
    usage: Any = None
    response_headers: Any = None
    response_code_details: str | None = None
    response_flags: str | None = None
    request_bytes: int | str | None = None
    response_bytes: int | str | None = None
    attempts: int | str | None = None
    access_log_type: str | None = None
    request_id: str | None = None


_DECODER = msgspec.json.Decoder(Line)

LINE_START = b'{"access_log_type":'
"""How Envoy begins each line: it sorts the keys, and this is the first."""


def read_line(line: bytes, usage_headers: Mapping[str, str]) -> Entry | None:
    """Read one line; ``None`` for an entry that is not ours to settle.

    That is one without a ticket, of an upstream attempt, or of a request that had not ended: a file
    tells of the past, so there is nothing left to extend. Raises :class:`NoEntry`.
    """
    try:
        found = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoEntry(str(error)) from error
    kind = _text(found.access_log_type) or "NotSet"
    if kind not in FINAL_TYPES or not _text(found.ticket):
        if kind not in FINAL_TYPES | ONGOING_TYPES and not kind.startswith(("Upstream", "Tcp")):
            raise NoEntry(f"access_log_type {kind[:MAX_TEXT_CHARS]!r} is not known")
        return None
    return _entry(found, usage_headers)


def write_line(entry: Entry, remark: str = "") -> str:
    """Write an entry in the form of the log file, without its end of line.

    Quarantine keeps entries so, with a remark that reading ignores: once the cause is put right,
    they can be given to ``tollkeeper replay``.
    """
    line = {
        "ticket": entry.ticket,
        "usage": entry.usage,
        "start_time": f"{entry.started_us // MICROS}.{entry.started_us % MICROS:06d}",
        "duration_ms": entry.duration_ms,
        "response_code": entry.code,
        "response_code_details": entry.details,
        "response_flags": write_flags(entry.flags),
        "request_bytes": entry.request_bytes,
        "response_bytes": entry.response_bytes,
        "attempts": entry.attempts,
        "access_log_type": "DownstreamPeriodic" if entry.ongoing else "DownstreamEnd",
        "request_id": entry.request_id,
    }
    if remark:
        line["remark"] = remark
    return msgspec.json.encode(line).decode()


def _entry(found: Line, usage_headers: Mapping[str, str]) -> Entry:
    return Entry(
        ticket=_text(found.ticket),
        usage=_usage(found, usage_headers),
        code=_count("response_code", found.response_code),
        flags=read_flags(_text(found.response_flags)),
        attempts=_count("attempts", found.attempts),
        ongoing=False,
        request_bytes=_count("request_bytes", found.request_bytes),
        response_bytes=_count("response_bytes", found.response_bytes),
        duration_ms=_count("duration_ms", found.duration_ms),
        started_us=_micros(_text(found.start_time)),
        request_id=_text(found.request_id)[:MAX_TEXT_CHARS],
        details=_text(found.response_code_details)[:MAX_TEXT_CHARS],
    )


def _usage(found: Line, usage_headers: Mapping[str, str]) -> dict[str, object]:
    usage = normal_usage(found.usage) if isinstance(found.usage, dict) else {}
    if isinstance(found.response_headers, dict):
        for header, field in usage_headers.items():
            text = found.response_headers.get(header)
            if text is not None and text != "-":
                usage[field] = normal_scalar(text)
    return usage


def _text(value: str | None) -> str:
    return "" if value is None or value == "-" else value


def _count(key: str, value: int | str | None) -> int:
    """A whole number from zero; Envoy writes some as text, and ``-`` or ``null`` for none."""
    if value is None or value == "-":
        return 0
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise NoEntry(f"{key} {value[:MAX_TEXT_CHARS]!r} is no count")
        value = int(value)
    if not 0 <= value <= MAX_INT:
        raise NoEntry(f"{key} {value} is out of range")
    return value


def _micros(text: str) -> int:
    """``1700000000.123456`` as Unix microseconds, without a float in between."""
    seconds, _, fraction = text.partition(".")
    digits = fraction[:6].ljust(6, "0")
    if not (text.isascii() and seconds.isdigit() and len(seconds) < 13 and digits.isdigit()):
        raise NoEntry(f"start_time {text[:MAX_TEXT_CHARS]!r} is not Unix seconds")
    return int(seconds) * MICROS + int(digits)
