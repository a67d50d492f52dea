"""What is no request is refused on its stream, and what cannot be unpacked with the connection."""

from __future__ import annotations

import pytest

from tests.unit.tollkeeper.direct_peer import (
    REQUEST,
    Answer,
    Headers,
    House,
    Peer,
    frame,
    framed,
)

PROTOCOL_ERROR, COMPRESSION_ERROR = 1, 9


def changed(**values: bytes | None) -> Headers:
    """The headers of a good request with some others, or without some."""
    found = {name.strip(b":"): (name, value) for name, value in REQUEST}
    for name, value in values.items():
        if value is None:
            del found[name.encode()]
        else:
            found[name.encode()] = (found[name.encode()][0], value)
    return list(found.values())


MALFORMED: list[Headers] = [
    *(changed(**{name: None}) for name in ("method", "scheme", "path")),
    *(changed(**{name: b""}) for name in ("method", "scheme", "path")),
    [*REQUEST[:3], REQUEST[2], *REQUEST[3:]],
    [*REQUEST[1:], REQUEST[0]],
    [(b":status", b"200"), *REQUEST],
    [(b":protocol", b"websocket"), *REQUEST],
    *(
        [*REQUEST, (name, value)]
        for name, value in [
            (b"Upper", b"case"),
            (b"with space", b"x"),
            (b"with:colon", b"x"),
            (b"beyond\x80ascii", b"x"),
            (b"", b"nameless"),
            (b"x", b"a\nb"),
            (b"x", b"a\rb"),
            (b"x", b"a\0b"),
            (b"connection", b"close"),
            (b"keep-alive", b"1"),
            (b"proxy-connection", b"1"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"h2c"),
            (b"te", b"gzip"),
            (b"content-length", b"many"),
            (b"content-length", b""),
            (b"content-length", b"-1"),
            (b"content-length", b"9" * 19),
        ]
    ),
    [*REQUEST, (b"content-length", b"7"), (b"content-length", b"8")],
]


@pytest.mark.parametrize("headers", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_requests_are_refused_on_their_stream(headers: Headers) -> None:
    """RFC 9113, section 8: what comes of the body is passed over, and the connection goes on."""
    house = House()
    peer = Peer(house)
    stream = peer.begin(headers=headers)
    peer.h2.send_data(stream, framed(b"hi"), end_stream=True)
    peer.turn()
    assert peer.answers[stream] == Answer(reset=PROTOCOL_ERROR)
    peer.check_alive()
    assert house.calls.ended == {"OK": 1}
    house.check_idle()


@pytest.mark.parametrize(
    ("declared", "reset"), [(b"7", None), (b"007", None), (b"6", 1), (b"8", 1)]
)
def test_the_declared_length_has_to_be_true(declared: bytes, reset: int | None) -> None:
    """``content-length`` beside a body of seven bytes."""
    peer = Peer(House())
    answer = peer.ask(b"hi", (b"content-length", declared), (b"content-length", declared))
    assert answer.reset == reset
    assert answer.ended == (reset is None)
    peer.check_alive()


def test_headers_without_a_body_have_their_length_judged_too() -> None:
    """A request that ends with its headers has none."""
    peer = Peer(House())
    peer.h2.send_headers(1, [*REQUEST, (b"content-length", b"1")], end_stream=True)
    peer.turn()
    assert peer.answers[1].reset == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "block", [b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\xc0", b"\x40"]
)
def test_what_cannot_be_unpacked_ends_the_connection(block: bytes) -> None:
    """The table of headers is lost with it; nothing of the block is said to anybody."""
    peer = Peer(House())
    peer.raw(frame(1, 5, 1, block))
    assert peer.ended_by() == COMPRESSION_ERROR


def test_more_headers_than_allowed_end_the_connection() -> None:
    """However small they were packed."""
    peer = Peer(House())
    big = (b"filler", b"x" * 4_000)
    peer.h2.send_headers(1, [*REQUEST, big], end_stream=True)
    peer.turn()
    assert peer.ended_by() is None
    peer.h2.send_headers(3, [*REQUEST, *[big] * 5], end_stream=True)
    peer.turn()
    assert peer.ended_by() == COMPRESSION_ERROR
