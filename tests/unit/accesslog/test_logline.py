"""Lines of the log file as values: the same ones that the stream gives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesslog.entry import read_message
from accesslog.flags import FLAGS, flags_of, read_flags, write_flags
from accesslog.logline import NoEntry, read_line, write_line
from accesslog.values import MAX_INT, Entry, normal_scalar
from envoyapi.accesslog_v3_pb2 import StreamAccessLogsMessage
from tests.unit.accesslog.door import make_entry
from tests.unit.accesslog.test_entry import logged, used

HEADERS = {"x-cost": "reported_cost"}
LINE = {
    "access_log_type": "DownstreamEnd",
    "attempts": 1,
    "duration_ms": 120,
    "request_bytes": 400,
    "request_id": "an id",
    "response_bytes": 900,
    "response_code": 200,
    "response_code_details": "via_upstream",
    "response_flags": "-",
    "response_headers": {"x-cost": "0.01"},
    "start_time": "1800000000.123456",
    "ticket": "ticket",
    "usage": {"input_tokens": 100, "model": "small", "output_tokens": 50},
}


def line(**changes: object) -> bytes:
    return json.dumps(LINE | changes).encode()


def test_a_line_is_the_same_value_as_the_message() -> None:
    """One request, told by the stream and by the file, is one value."""
    message = StreamAccessLogsMessage()
    entry = logged(message)
    used(entry, input_tokens=100, output_tokens=50, model="small")
    entry.response.response_headers["x-cost"] = "0.01"
    (part,) = read_message(message.SerializeToString(), HEADERS, 10)
    assert [read_line(line(), HEADERS)] == part.entries


@given(
    st.one_of(
        st.integers(-(2**80), 2**80),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=300),
        st.booleans(),
    )
)
def test_a_value_is_the_same_from_both_sources(value: object) -> None:
    """Numbers as doubles on the wire and as text in the file come to the same form."""
    message = StreamAccessLogsMessage()
    used(logged(message), input_tokens=value)
    struct = message.http_logs.log_entry[0].common_properties.metadata.filter_metadata
    on_the_wire = struct["tollkeeper.usage"]["input_tokens"]
    (part,) = read_message(message.SerializeToString(), HEADERS, 10)
    found = read_line(line(usage={"input_tokens": on_the_wire}, response_headers={}), HEADERS)
    assert found is not None
    assert found.usage == part.entries[0].usage
    kinds = (type(found.usage["input_tokens"]), type(part.entries[0].usage["input_tokens"]))
    assert kinds[0] is kinds[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"ticket": None},
        {"ticket": "-"},
        {"ticket": ""},
        {"access_log_type": "DownstreamPeriodic"},
        {"access_log_type": "DownstreamStart"},
        {"access_log_type": "UpstreamEnd"},
        {"access_log_type": "TcpConnectionEnd"},
    ],
)
def test_lines_that_are_not_ours_to_settle(changes: dict) -> None:
    """Requests without a ticket or not at their end are entries, and nothing to do."""
    assert read_line(line(**changes), HEADERS) is None


@pytest.mark.parametrize("nothing", [None, "-"])
def test_what_envoy_leaves_out_reads_as_nothing(nothing: object) -> None:
    """Each way to write that there is nothing gives zero, or an empty text."""
    missing = dict.fromkeys(LINE, nothing) | {"ticket": "t", "start_time": "1.0"}
    assert read_line(json.dumps(missing).encode(), HEADERS) == Entry(
        "t", {}, 0, 0, 0, False, 0, 0, 0, 1_000_000, ""
    )


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b"127.0.0.1 - - [10/Mar/2026] GET / 200",
        b"{}",
        b'{"ticket": "t"}',
        line(response_code="many"),
        line(response_code=-1),
        line(duration_ms=2**63),
        line(duration_ms="9" * 20),
        line(duration_ms="\u0661"),
        line(request_bytes=1.5),
        line(start_time="yesterday"),
        line(start_time="1800000000.12x"),
        line(start_time="\u0661.0"),
        line(start_time=None),
        line(ticket=7),
        line(access_log_type="Whatever"),
        line(response_code=10**400),
        b"[" * 100_000,
    ],
)
def test_garbage_is_no_entry(bad: bytes) -> None:
    """Whatever else is in a file is told as one kind of error, with a reason."""
    with pytest.raises(NoEntry) as told:
        read_line(bad, HEADERS)
    assert str(told.value)


def test_unknown_keys_are_left() -> None:
    """What else Envoy was told to write does not matter."""
    assert read_line(line(path="/v1", account="anna"), HEADERS) == read_line(line(), HEADERS)


@given(st.sets(st.sampled_from([flag.letters for flag in FLAGS])))
def test_flags_are_written_and_read_alike(letters: set[str]) -> None:
    """A set of flags survives being written; letters that nobody knows are left out."""
    bits = flags_of(*letters)
    assert read_flags(write_flags(bits)) == bits
    assert read_flags(",".join([*letters, "NEW"])) == bits


def test_none_is_written_as_nothing() -> None:
    """No flag is an empty text, and Envoy's dash is no flag."""
    assert write_flags(0) == ""
    assert read_flags("-") == read_flags("") == 0


def test_a_written_line_can_be_read_again() -> None:
    """Quarantine keeps what replay can settle, remark and all."""
    entry = make_entry("ticket", flags=flags_of("UC", "DC"), usage={"input_tokens": -1})
    assert read_line(write_line(entry, "why").encode(), {}) == entry


@given(st.floats() | st.integers() | st.text())
def test_normal_form_is_stable(value: object) -> None:
    """Bringing a value to its form twice changes nothing, and every integer fits 64 bits."""
    once = normal_scalar(value)
    assert normal_scalar(once) == once
    assert not isinstance(once, int) or abs(once) <= MAX_INT
