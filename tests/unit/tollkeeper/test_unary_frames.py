"""Frames, timeouts and statuses of the hosted transport, byte by byte."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.unary.frames import read_frame, refuse_encoding, write_frame
from tollkeeper.unary.status import MAX_MESSAGE_CHARS, CallFailed, Code, message_header
from tollkeeper.unary.timeouts import Timeouts

MAX_BYTES = 100


def failure(body: bytes, encoding: bytes = b"") -> Code:
    with pytest.raises(CallFailed) as failed:
        read_frame(body, encoding, MAX_BYTES)
    return failed.value.code


@given(st.binary(max_size=MAX_BYTES))
def test_what_was_framed_is_read_back(message: bytes) -> None:
    """Any message up to the bound, the empty one too."""
    assert read_frame(write_frame(message), b"", MAX_BYTES) == message


@given(st.binary(max_size=MAX_BYTES))
def test_packed_messages_are_unpacked(message: bytes) -> None:
    """In both of gRPC's encodings."""
    for encoding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress)):
        packed = pack(message)
        framed = b"\1" + write_frame(packed)[1:]
        assert read_frame(framed, encoding, MAX_BYTES + len(packed)) == message


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (b"", b"", Code.INTERNAL),
        (b"\0\0\0\0", b"", Code.INTERNAL),
        (b"\0\0\0\0\2x", b"", Code.INTERNAL),
        (b"\0\0\0\0\1xx", b"", Code.INTERNAL),
        (b"\2\0\0\0\1x", b"", Code.INTERNAL),
        (b"\1\0\0\0\1x", b"", Code.INTERNAL),
        (b"\1\0\0\0\1x", b"identity", Code.INTERNAL),
        (b"\1\0\0\0\1x", b"gzip", Code.INTERNAL),
        (b"\0\xff\xff\xff\xff", b"", Code.RESOURCE_EXHAUSTED),
        (write_frame(b"x" * (MAX_BYTES + 1)), b"", Code.RESOURCE_EXHAUSTED),
    ],
)
def test_broken_frames_are_told_apart(body: bytes, encoding: bytes, code: Code) -> None:
    """Too short, too long, unknown flags, packed in nothing: each with its status."""
    assert failure(body, encoding) is code


def test_a_packed_message_is_bounded_and_whole() -> None:
    """What comes out of it counts, and a cut stream is no message."""
    bomb = gzip.compress(b"\0" * 10_000)
    assert failure(b"\1" + write_frame(bomb)[1:], b"gzip") is Code.RESOURCE_EXHAUSTED
    cut = gzip.compress(b"hello")[:-4]
    assert failure(b"\1" + write_frame(cut)[1:], b"gzip") is Code.INTERNAL


def test_encodings_that_are_not_understood_are_refused() -> None:
    """Those of gRPC's core pass, and none at all."""
    assert [refuse_encoding(name) for name in (b"", b"identity", b"gzip", b"deflate")] == [None] * 4
    refused = refuse_encoding(b"snappy")
    assert refused is not None
    assert refused.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"5S", 5.0), (b"200m", 0.2), (b"1H", 3600.0), (b"2M", 120.0), (b"7u", 7e-6), (b"9n", 9e-9)],
)
def test_timeouts_are_read_in_every_unit(text: bytes, seconds: float) -> None:
    """The second time from memory."""
    timeouts = Timeouts()
    assert [timeouts.read(text), timeouts.read(text)] == pytest.approx([seconds, seconds])


@pytest.mark.parametrize("text", [b"", b"S", b"5", b"5x", b"-5S", b"123456789S", b"1.5S"])
def test_what_is_no_timeout_is_a_fault(text: bytes) -> None:
    """As gRPC's protocol has it: digits and a unit, eight digits at most."""
    with pytest.raises(CallFailed):
        Timeouts().read(text)


def test_messages_of_a_status_are_encoded_and_bounded() -> None:
    """Percent signs, line ends and what is no ASCII; never longer than a header should be."""
    assert message_header("50% of é\n") == b"50%25 of %C3%A9%0A"
    assert len(message_header("x" * 10_000)) == MAX_MESSAGE_CHARS
