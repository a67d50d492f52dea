"""What is spooled can be read by a later version, and what cannot be read is said to be so."""

import msgspec
import pytest

from accesslog.records import MAX_RAW_BYTES, NoRecord, decode, encode_entries, encode_raw
from accesslog.values import Entry
from tests.unit.accesslog.door import make_entry


def test_entries_come_back() -> None:
    """Every field survives, numbers of all sizes included."""
    entries = [
        make_entry("a", usage={"input_tokens": 2**63 - 1, "cpu_ms": 0.1, "model": "x"}),
        make_entry("b", ongoing=True, flags=1 << 28),
    ]
    assert decode(encode_entries(entries)) == entries


def test_a_record_without_the_newest_field_is_read() -> None:
    """A spool of an older version, whose entries end sooner, is settled by a newer one."""
    whole = list(msgspec.structs.astuple(make_entry("a", details="")))
    assert decode(b"\x01" + msgspec.msgpack.encode([whole[:-1]])) == [make_entry("a", details="")]


def test_a_record_with_a_newer_field_is_read() -> None:
    """Going back one version loses the new field and nothing else."""
    longer = [*msgspec.structs.astuple(make_entry("a")), "something new"]
    assert decode(b"\x01" + msgspec.msgpack.encode([longer])) == [make_entry("a")]


def test_the_order_of_fields_is_fixed() -> None:
    """Fields are only ever added at the end: what is on disk depends on it."""
    assert Entry.__struct_fields__ == (
        *("ticket", "usage", "code", "flags", "attempts", "ongoing", "request_bytes"),
        *("response_bytes", "duration_ms", "started_us", "request_id", "details"),
    )


def test_raw_bytes_come_back_bounded() -> None:
    """A message that could not be parsed is kept as it is, up to a bound."""
    assert decode(encode_raw(b"garbage")) == b"garbage"
    assert decode(encode_raw(b"")) == b""
    assert len(decode(encode_raw(bytes(2 * MAX_RAW_BYTES)))) == MAX_RAW_BYTES


@pytest.mark.parametrize("payload", [b"", b"\x07new form", b"\x01", b"\x01\xc1", b"\x01\x93abc"])
def test_other_payloads_are_refused(payload: bytes) -> None:
    """An unknown form, or another content than its form promises, is one kind of error."""
    with pytest.raises(NoRecord):
        decode(payload)
