"""The stream's messages as values, hostile content included."""

import math
from typing import Any

import pytest

from accesslog.entry import Parsed, Unreadable, read_message
from accesslog.flags import FLAGS, Flag, flags_of
from accesslog.values import MAX_INT, MAX_TEXT_CHARS, NOT_A_SCALAR, NOT_FINITE, Entry
from envoyapi.accesslog_data_v3_pb2 import AccessLogType, HTTPAccessLogEntry, ResponseFlags
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage

HEADERS = {"x-cost": "reported_cost"}


def logged(message: StreamAccessLogsMessage, ticket: str = "ticket") -> HTTPAccessLogEntry:
    """Add an answered request to a message, as Envoy writes it."""
    entry = message.http_logs.log_entry.add()
    common = entry.common_properties
    if ticket:
        fields = common.metadata.filter_metadata["envoy.filters.http.ext_authz"].fields
        fields["ticket"].string_value = ticket
        fields["account"].string_value = "anna"
    common.start_time.FromMicroseconds(1_800_000_000_123_456)
    common.duration.FromMicroseconds(120_999)
    common.upstream_request_attempt_count = 1
    common.access_log_type = AccessLogType.DownstreamEnd
    common.stream_id = "an id"
    entry.request.request_body_bytes = 400
    entry.response.response_body_bytes = 900
    entry.response.response_code.value = 200
    entry.response.response_code_details = "via_upstream"
    return entry


def used(entry: HTTPAccessLogEntry, **values: Any) -> None:
    struct = entry.common_properties.metadata.filter_metadata["tollkeeper.usage"]
    struct.update(values)


def read(message: StreamAccessLogsMessage) -> list[Entry]:
    return [e for part in parts(message) for e in part.entries]


def parts(message: StreamAccessLogsMessage, chunk_entries: int = 100) -> list[Parsed]:
    return list(read_message(message.SerializeToString(), HEADERS, chunk_entries))


def test_an_answered_request() -> None:
    """Every field that settlement needs is taken, whole numbers as integers, times rounded down."""
    message = StreamAccessLogsMessage()
    entry = logged(message)
    used(entry, input_tokens=100, output_tokens=50.0, model="small", cpu_ms=1.5)
    entry.response.response_headers["x-cost"] = "0.01"
    entry.response.response_headers["x-other"] = "never seen"
    (found,) = read(message)
    assert found == Entry(
        ticket="ticket",
        usage={
            "input_tokens": 100,
            "output_tokens": 50,
            "model": "small",
            "cpu_ms": 1.5,
            "reported_cost": "0.01",
        },
        code=200,
        flags=0,
        attempts=1,
        ongoing=False,
        request_bytes=400,
        response_bytes=900,
        duration_ms=120,
        started_us=1_800_000_000_123_456,
        request_id="an id",
        details="via_upstream",
    )
    assert isinstance(found.usage["output_tokens"], int)
    assert found.completed_us == 1_800_000_000_243_456


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (-1, -1),
        (2.0**70, 2.0**70),
        (-(2.0**70), -(2.0**70)),
        (2.0**53, 2**53),
        (0.5, 0.5),
        ("many", "many"),
        ("x" * 1_000, "x" * MAX_TEXT_CHARS),
        (True, True),
        ([1, 2], NOT_A_SCALAR),
        ({"a": 1}, NOT_A_SCALAR),
        (math.inf, NOT_FINITE),
        (math.nan, NOT_FINITE),
    ],
)
def test_usage_comes_through_for_the_meter_to_judge(value: object, kept: object) -> None:
    """What an upstream wrote in the place of a number is kept, in a bounded form."""
    message = StreamAccessLogsMessage()
    used(logged(message), input_tokens=value)
    assert read(message)[0].usage == {"input_tokens": kept}


def test_usage_that_is_not_known_or_null_is_dropped() -> None:
    """Fields of other names and nulls take no room."""
    message = StreamAccessLogsMessage()
    used(logged(message), total_tokens=3, output_tokens=None, anything="x" * 10_000)
    assert read(message)[0].usage == {}


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.letters)
def test_each_flag_of_the_wire_has_its_bit(flag: Flag) -> None:
    """The table of flags holds the wire's fields by number and name."""
    number, name, letters = flag
    assert ResponseFlags.DESCRIPTOR.fields_by_name[name].number == number
    message = StreamAccessLogsMessage()
    flags = logged(message).common_properties.response_flags
    if name == "unauthorized_details":
        flags.unauthorized_details.reason = ResponseFlags.Unauthorized.EXTERNAL_SERVICE
    else:
        setattr(flags, name, True)
    assert read(message)[0].flags == flags_of(letters)


def test_the_table_of_flags_is_complete() -> None:
    """A flag that the wire gets one day is missed here."""
    assert [f.name for f in ResponseFlags.DESCRIPTOR.fields] == [f.field for f in FLAGS]


def test_entries_of_streams_that_go_on_are_marked() -> None:
    """The kinds that Envoy writes in between, and the older mark for them, are no end."""
    message = StreamAccessLogsMessage()
    for kind in (
        AccessLogType.DownstreamStart,
        AccessLogType.DownstreamPeriodic,
        AccessLogType.DownstreamTunnelSuccessfullyEstablished,
    ):
        logged(message).common_properties.access_log_type = kind
    logged(message).common_properties.intermediate_log_entry = True
    logged(message).common_properties.access_log_type = AccessLogType.NotSet
    assert [entry.ongoing for entry in read(message)] == [True] * 4 + [False]


def test_what_is_not_ours_is_counted_and_left() -> None:
    """Entries without a ticket, of upstream attempts and of TCP never become values."""
    message = StreamAccessLogsMessage()
    logged(message, ticket="")
    logged(message).common_properties.access_log_type = AccessLogType.UpstreamEnd
    namespace = logged(message, ticket="").common_properties.metadata.filter_metadata
    namespace["envoy.filters.http.ext_authz"].fields["ticket"].number_value = 7
    assert parts(message) == [Parsed([], without_ticket=2, other_types=1)]
    tcp = StreamAccessLogsMessage()
    tcp.tcp_logs.log_entry.add()
    assert parts(tcp) == [Parsed([], tcp=1)]
    assert parts(StreamAccessLogsMessage()) == []


def test_a_message_is_read_in_parts() -> None:
    """A large message is parsed so many entries at a time, in order."""
    message = StreamAccessLogsMessage()
    for n in range(7):
        logged(message, f"ticket {n}")
    found = parts(message, chunk_entries=3)
    assert [len(part.entries) for part in found] == [3, 3, 1]
    assert [e.ticket for part in found for e in part.entries] == [f"ticket {n}" for n in range(7)]


def test_numbers_out_of_range_are_bounded() -> None:
    """Counters and times that no 64-bit integer holds later on are cut; nothing goes negative."""
    message = StreamAccessLogsMessage()
    entry = logged(message)
    entry.request.request_body_bytes = 2**64 - 1
    entry.common_properties.start_time.seconds = -5
    entry.common_properties.duration.seconds = -7
    far = logged(message)
    far.common_properties.start_time.seconds = 2**62
    found, distant = read(message)
    assert (found.request_bytes, found.started_us, found.duration_ms) == (MAX_INT, 0, 0)
    assert distant.started_us == MAX_INT


def test_an_empty_entry_is_an_entry() -> None:
    """Whatever Envoy leaves out reads as nothing."""
    message = StreamAccessLogsMessage()
    common = message.http_logs.log_entry.add().common_properties
    common.metadata.filter_metadata["envoy.filters.http.ext_authz"].fields[
        "ticket"
    ].string_value = "t"
    assert read(message) == [Entry("t", {}, 0, 0, 0, False, 0, 0, 0, 0, "")]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"not protobuf at all", b"\x12\x7f\x01"])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    """Garbage is one error and nothing else."""
    with pytest.raises(Unreadable):
        list(read_message(data, HEADERS, 10))
