"""Calls that end with a status other than OK, and whose fault that was."""

from __future__ import annotations

import pytest

from tests.unit.tollkeeper.direct_peer import PATH, REQUEST, House, Peer
from tollkeeper.unary.status import CallFailed, Code


async def _picky(message: bytes) -> bytes:
    raise ValueError(message.decode())


def test_a_method_may_choose_its_status() -> None:
    """Code and message as its fault has them; the message is percent-encoded."""
    house = House(_picky, fault=lambda error: CallFailed(Code.NOT_FOUND, str(error)))
    answer = Peer(house).ask("é%".encode())
    assert (answer.status, answer.headers[b"grpc-message"]) == (Code.NOT_FOUND, b"%C3%A9%25")
    assert (answer.body, answer.ended) == (b"", True)
    assert house.calls.ended == {"NOT_FOUND": 1}
    house.check_idle()


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 500])
def test_messages_of_any_length_are_told(size: int) -> None:
    """Lengths in headers take one byte, two or three (RFC 7541, section 5.1)."""
    house = House(_picky, fault=lambda error: CallFailed(Code.NOT_FOUND, str(error)))
    answer = Peer(house).ask(b"x" * size)
    assert answer.headers[b"grpc-message"] == b"x" * size


def test_a_fault_of_ours_is_unavailable_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The client hears nothing of it, the operator all."""
    house = House(_picky)
    answer = Peer(house).ask(b"secret")
    assert answer.status == Code.UNAVAILABLE
    assert b"secret" not in repr(answer).encode()
    assert "secret" in caplog.text
    house.check_idle()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b":path", b"/no/Such")], Code.UNIMPLEMENTED),
        ([(b":path", b"/" + b"x" * 300)], Code.UNIMPLEMENTED),
        ([(b":method", b"GET")], Code.INTERNAL),
        ([(b"content-type", b"text/html")], Code.INTERNAL),
        ([(b"grpc-encoding", b"snappy")], Code.UNIMPLEMENTED),
        ([(b"grpc-timeout", b"soon")], Code.INTERNAL),
    ],
)
def test_what_is_no_call_gets_a_status(headers: list[tuple[bytes, bytes]], status: Code) -> None:
    """When its body has come; the connection goes on."""
    house = House()
    peer = Peer(house)
    changed = dict(headers)
    stream = peer.begin(headers=list({**dict(REQUEST), **changed}.items()))
    peer.turn()
    assert stream not in peer.answers
    peer.h2.send_data(stream, b"x" * 10_000)
    peer.h2.send_data(stream, b"", end_stream=True)
    peer.turn()
    assert (peer.answers[stream].status, peer.answers[stream].ended) == (status, True)
    assert (b"grpc-accept-encoding" in peer.answers[stream].headers) == (status == 12)
    peer.check_alive()
    assert house.calls.ended == {status.name: 1, "OK": 1}
    house.check_idle()


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0", b"\0\0\0\0\5four", b"\0\0\0\0\3four", b"\2\0\0\0\0"]
)
def test_bodies_that_are_no_message_are_refused(body: bytes) -> None:
    """Nothing at all, half a frame, another length, unknown flags."""
    house = House()
    peer = Peer(house)
    stream = peer.begin()
    peer.h2.send_data(stream, body, end_stream=True)
    peer.turn()
    assert peer.answers[stream].status == Code.INTERNAL
    peer.check_alive()


def test_a_call_without_a_body_is_refused() -> None:
    """Its headers end it."""
    peer = Peer(House())
    peer.h2.send_headers(1, REQUEST, end_stream=True)
    peer.turn()
    assert peer.answers[1].status == Code.INTERNAL


def test_a_path_is_found_exactly() -> None:
    """Not by its beginning, nor with a query."""
    peer = Peer(House())
    for path in (PATH[:-1], PATH + "?x", PATH.upper()):
        stream = peer.begin(headers=list({**dict(REQUEST), b":path": path.encode()}.items()))
        peer.h2.end_stream(stream)
        peer.turn()
        assert peer.answers[stream].status == Code.UNIMPLEMENTED
