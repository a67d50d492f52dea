"""The headers that begin a call: from memory or unpacked they say the same."""

from __future__ import annotations

from typing import Any

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tollkeeper.direct_peer import (
    PATH,
    REQUEST,
    echo,
)
from tollkeeper.direct.frames import ConnectionFault, ErrorCode
from tollkeeper.direct.openings import MAX_KNOWN, Openings
from tollkeeper.unary.method import Method
from tollkeeper.unary.timeouts import Timeouts

TRACE = b"traceparent"


def openings() -> Openings:
    return Openings({PATH: Method(echo, lambda _error: None, 100)}, Timeouts())


def said(found: Openings, block: bytes) -> Any:
    """The trace header and the timeout that a block says, or that it cannot be unpacked."""
    try:
        opening = found.read(block, 1)
    except ConnectionFault as fault:
        return fault.code
    assert opening.fault is None
    assert opening.method is not None
    return dict(opening.headers).get(TRACE), opening.timeout_s


def truth(decoder: Decoder, block: bytes) -> Any:
    """The same, always unpacked."""
    try:
        headers = dict(decoder.decode(block, raw=True))
    except HPACKError:
        return ErrorCode.COMPRESSION_ERROR
    timeout = headers.get(b"grpc-timeout")
    return headers.get(TRACE), None if timeout is None else float(timeout[:-1])


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        b"grpc-timeout": st.sampled_from([b"1S", b"2S", b"3S"]),
        TRACE: st.sampled_from([b"00-a", b"00-b", b"0" * 300]),
        b"filler": st.sampled_from([b"", b"f" * 900, b"g" * 2_000, b"h" * 4_100]),
    },
)
STEPS = st.lists(
    st.one_of(HEADERS, HEADERS, HEADERS, st.sampled_from([0, 50, 300, 1_000, 4_096])), max_size=40
)


@given(STEPS, st.booleans())
def test_headers_from_memory_are_those_that_were_packed(steps: list[Any], whole: bool) -> None:
    """Whatever an encoder inserts, evicts and resizes in between."""
    encoder, decoder, found = Encoder(), Decoder(), openings()
    for step in steps:
        if isinstance(step, int):
            encoder.header_table_size = step
            continue
        headers = [*REQUEST, *step.items()]
        if not whole:  # nothing of these goes into the table
            headers = [*REQUEST[:3], *[(*header, True) for header in headers[3:]]]
        block = encoder.encode(headers)
        assert said(found, block) == truth(decoder, block)


def _text(text: bytes) -> bytes:
    size = len(text)
    length = bytes([size]) if size < 127 else bytes([127, size - 127 & 127 | 128, size - 127 >> 7])
    return length + text


def _kept(value: bytes, name: bytes = TRACE) -> bytes:
    """A header that goes into the table."""
    return b"\x40" + _text(name) + _text(value)


def _size(of: int) -> bytes:
    """Another size of the table."""
    return bytes([0x20 | of]) if of < 31 else bytes([0x3F, of - 31 & 127 | 128, of - 31 >> 7])


BASE = b"".join(b"\x10" + _text(name) + _text(value) for name, value in REQUEST)
BLOCKS = [
    BASE,
    BASE + _kept(b"00-a"),
    BASE + _kept(b"00-b"),
    BASE + _kept(b"x" * 3_000, b"filler"),
    BASE + _kept(b"x" * 4_200, b"filler"),
    BASE + b"\xbe",  # the newest entry of the table
    BASE + b"\xbf",  # the one before
    BASE + b"\xc0",
    _size(4_096) + BASE,
    _size(0) + BASE,
    _size(60) + BASE,
    _size(0) + _size(4_096) + BASE,
    _size(60) + _size(4_096) + BASE,
    _size(60) + _size(4_096) + BASE + b"\xbe",
    _size(5_000) + BASE,
    BASE + _size(60),
    BASE[:-1],
]


@given(st.lists(st.sampled_from(BLOCKS[:8]), max_size=12), st.lists(st.sampled_from(BLOCKS)))
def test_a_hostile_encoder_is_understood_as_well(begin: list[bytes], end: list[bytes]) -> None:
    """Tables made small and large again in one block, entries that are not there any more."""
    decoder, found = Decoder(), openings()
    for block in (*begin, *end):
        expected = truth(decoder, block)
        assert said(found, block) == expected
        if expected is ErrorCode.COMPRESSION_ERROR:
            return


def test_an_evicted_entry_is_not_remembered() -> None:
    """A table that was small for a moment has lost its oldest entries, and only those."""
    found = openings()
    for block in (BASE + _kept(b"00-a"), BASE + _kept(b"00-b")):
        found.read(block, 1)
    assert said(found, BASE + b"\xbf") == (b"00-a", None)
    found.read(_size(60) + _size(4_096) + BASE, 1)
    assert said(found, BASE + b"\xbf") is ErrorCode.COMPRESSION_ERROR


def test_what_changes_nothing_is_remembered() -> None:
    """The second time it is not unpacked; after a change it is; so many are remembered, no more."""
    found = openings()
    first = found.read(BASE, 1)
    assert found.read(BASE, 3) is first
    found.read(BASE + _kept(b"00-a"), 5)
    again = found.read(BASE, 7)
    assert again is not first
    blocks = [BASE + b"\x10" + _text(TRACE) + _text(b"%d" % number) for number in range(300)]
    remembered = [found.read(block, 9) for block in blocks]
    same = [
        found.read(block, 11) is opening for block, opening in zip(blocks, remembered, strict=True)
    ]
    assert sum(same) == MAX_KNOWN - 1
    assert found.read(BASE, 13) is again


def test_little_is_kept_of_large_headers() -> None:
    """Neither long blocks, nor calls that are refused, nor any header but those of traces."""
    found = openings()
    long = BASE + b"\x10" + _text(b"other") + _text(b"x" * 1_000)
    assert found.read(long, 1) is not found.read(long, 3)
    assert found.read(long, 5).headers == ()
    for other in (PATH[::-1], "/" + "x" * 300):
        block = BASE.replace(_text(PATH.encode()), _text(other.encode()))
        refused = found.read(block, 7)
        assert found.read(block, 9) is not refused
        assert refused.fault is not None
        assert refused.fault.__traceback__ is None
        assert len(refused.fault.message) < 50
