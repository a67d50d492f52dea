"""The wire to values: one message of Envoy's access-log stream, parsed as far as it is needed.

This runs once per request that the gateway serves, so it reads each field once and skips entries
without a ticket before it looks at anything else. Messages: envoy.data.accesslog.v3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from google.protobuf.message import DecodeError

from accesslog.flags import BIT_BY_FIELD
from accesslog.values import (
    MAX_INT,
    MAX_TEXT_CHARS,
    TICKET_KEY,
    TICKET_NAMESPACE,
    USAGE_FIELDS,
    USAGE_NAMESPACE,
    Entry,
    normal_scalar,
)
from envoyapi.accesslog_data_v3_pb2 import (
    AccessLogCommon,
    AccessLogType,
    HTTPAccessLogEntry,
    ResponseFlags,
)
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage

FINAL_TYPES = frozenset({AccessLogType.NotSet, AccessLogType.DownstreamEnd})
ONGOING_TYPES = frozenset(
    {
        AccessLogType.DownstreamStart,
        AccessLogType.DownstreamPeriodic,
        AccessLogType.DownstreamTunnelSuccessfullyEstablished,
    }
)
"""Every other type tells of an upstream attempt or of no request at all: counted and left."""


class Unreadable(ValueError):
    """The bytes are no ``StreamAccessLogsMessage``."""


@dataclass(slots=True)
class Parsed:
    """A part of one message: entries that carry a ticket, and how many were left out and why."""

    entries: list[Entry] = field(default_factory=list)
    without_ticket: int = 0
    other_types: int = 0
    tcp: int = 0


def read_message(
    data: bytes, usage_headers: Mapping[str, str], chunk_entries: int
) -> Iterator[Parsed]:
    """Parse one message of the stream, in parts of so many entries; raises :class:`Unreadable`.

    ``usage_headers`` maps a logged response header (lower case) to the usage field that it carries.
    """
    try:
        message = StreamAccessLogsMessage.FromString(data)
    except DecodeError as error:
        raise Unreadable(str(error)) from error
    if message.HasField("tcp_logs"):
        yield Parsed(tcp=len(message.tcp_logs.log_entry))
        return
    logged = iter(message.http_logs.log_entry)
    while chunk := list(islice(logged, chunk_entries)):
        yield _read_chunk(chunk, usage_headers)


def _read_chunk(chunk: Iterable[HTTPAccessLogEntry], usage_headers: Mapping[str, str]) -> Parsed:
    parsed = Parsed()
    for logged in chunk:
        common = logged.common_properties
        kind = common.access_log_type
        ongoing = kind in ONGOING_TYPES
        if not ongoing and kind not in FINAL_TYPES:
            parsed.other_types += 1
        elif ticket := _ticket(common):
            parsed.entries.append(_entry(logged, common, ticket, ongoing, usage_headers))
        else:
            parsed.without_ticket += 1
    return parsed


def _ticket(common: AccessLogCommon) -> str:
    metadata = common.metadata.filter_metadata
    if TICKET_NAMESPACE not in metadata:
        return ""
    fields = metadata[TICKET_NAMESPACE].fields
    return fields[TICKET_KEY].string_value if TICKET_KEY in fields else ""


def _entry(
    logged: HTTPAccessLogEntry,
    common: AccessLogCommon,
    ticket: str,
    ongoing: bool,
    usage_headers: Mapping[str, str],
) -> Entry:
    request, response = logged.request, logged.response
    started, duration = common.start_time, common.duration
    duration_ms = duration.seconds * 1000 + duration.nanos // 1_000_000
    started_us = started.seconds * 1_000_000 + started.nanos // 1000
    return Entry(
        ticket,
        _usage(common, response.response_headers, usage_headers),
        response.response_code.value,
        _flags(common.response_flags) if common.HasField("response_flags") else 0,
        common.upstream_request_attempt_count,
        ongoing or common.intermediate_log_entry,
        min(request.request_body_bytes, MAX_INT),
        min(response.response_body_bytes, MAX_INT),
        max(0, duration_ms),
        min(max(0, started_us), MAX_INT),
        common.stream_id[:MAX_TEXT_CHARS],
        response.response_code_details[:MAX_TEXT_CHARS],
    )


def _usage(
    common: AccessLogCommon, headers: Mapping[str, str], usage_headers: Mapping[str, str]
) -> dict[str, object]:
    usage: dict[str, object] = {}
    metadata = common.metadata.filter_metadata
    if USAGE_NAMESPACE in metadata:
        fields = metadata[USAGE_NAMESPACE].fields
        for name in fields:  # `items()` makes pairs, which costs four times as much
            if name in USAGE_FIELDS:
                value = fields[name]
                kind = value.WhichOneof("kind")
                if kind is not None and kind != "null_value":
                    usage[name] = normal_scalar(getattr(value, kind))
    for header, name in usage_headers.items():
        if header in headers:
            usage[name] = normal_scalar(headers[header])
    return usage


def _flags(flags: ResponseFlags) -> int:
    bits = 0
    for flag, _ in flags.ListFields():
        bits |= BIT_BY_FIELD[flag.name]
    return bits
