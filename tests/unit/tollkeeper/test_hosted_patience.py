"""Calls that take long: their deadline, and clients that leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tollkeeper.hosted import patience
from tollkeeper.hosted.calls import Calls
from tollkeeper.unary.method import Method
from tollkeeper.unary.status import CallFailed, Code

PATH = "/service/Method"
HEADERS = [(b"content-type", b"application/grpc")]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "QUICK_S", 0.0)
    monkeypatch.setattr(patience, "LOOK_S", 0.0)


class Client:
    """Sends one message, may leave, and sees what it is sent."""

    def __init__(self, *, looks: int = 10**9, leaves_unanswered: bool = False) -> None:
        self.events: list[dict[str, Any]] = []
        self._looks = looks
        self._leaves_unanswered = leaves_unanswered
        self._received = False

    async def receive(self) -> dict[str, Any]:
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": b"\0\0\0\0\2hi", "more_body": False}
        self._looks -= 1
        gone = self._looks < 0
        return {"type": "http.disconnect" if gone else "http.request", "body": b""}

    async def send(self, event: dict[str, Any]) -> None:
        if self._leaves_unanswered and event["type"] == "http.response.trailers":
            raise ConnectionResetError("nobody listens")
        self.events.append(event)

    @property
    def status(self) -> bytes:
        """``grpc-status``, wherever it stands."""
        headers = [header for event in self.events for header in event.get("headers", ())]
        return dict(headers)[b"grpc-status"]


class Slow:
    """A method that never ends by itself."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def __call__(self, _message: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        return b""


def calls_of(call: Any, gone: Any = None) -> Calls:
    method = Method(call, lambda _error: None, 100, gone)
    return Calls({PATH: method}, asyncio.get_running_loop())


def scope(*headers: tuple[bytes, bytes], path: str = PATH) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "headers": [*HEADERS, *headers]}


async def test_a_deadline_ends_the_call_and_tells_so() -> None:
    """DEADLINE_EXCEEDED, and the method is cancelled."""
    slow, client = Slow(), Client()
    calls = calls_of(slow)
    await calls.answer(scope((b"grpc-timeout", b"1m")), client.receive, client.send)
    assert client.status == b"%d" % Code.DEADLINE_EXCEEDED
    assert (slow.cancelled, calls.in_flight) == (1, 0)


async def test_a_client_that_left_ends_the_call() -> None:
    """Nothing is sent to nobody."""
    slow, client = Slow(), Client(looks=2)
    calls = calls_of(slow)
    await calls.answer(scope(), client.receive, client.send)
    assert (client.events, slow.cancelled) == ([], 1)
    assert calls.ended == {"CANCELLED": 1}


async def test_an_answer_that_nobody_took_is_given_back() -> None:
    """The client left between the call and its answer: whoever answered hears of it."""
    untaken: list[bytes] = []

    async def echo(message: bytes) -> bytes:
        return message

    client = Client(leaves_unanswered=True)
    await calls_of(echo, untaken.append).answer(scope(), client.receive, client.send)
    assert untaken == [b"hi"]


async def test_a_cancellation_from_outside_is_passed_on() -> None:
    """The end of the process is nobody's deadline."""
    slow, client = Slow(), Client()
    answering = asyncio.create_task(calls_of(slow).answer(scope(), client.receive, client.send))
    await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering


async def test_a_fault_of_ours_is_unavailable() -> None:
    """Never UNKNOWN, which Envoy lets pass, and without a word about the fault."""

    async def broken(_message: bytes) -> bytes:
        raise ZeroDivisionError("a secret")

    client = Client()
    await calls_of(broken).answer(scope(), client.receive, client.send)
    assert client.status == b"%d" % Code.UNAVAILABLE
    assert b"secret" not in repr(client.events).encode()


async def test_what_is_no_call_is_refused() -> None:
    """Another path, another content type."""

    async def echo(message: bytes) -> bytes:
        return message

    calls = calls_of(echo)
    other, plain = Client(), Client()
    await calls.answer(scope(path="/other"), other.receive, other.send)
    not_grpc = {**scope(), "headers": [(b"content-type", b"text/plain")]}
    await calls.answer(not_grpc, plain.receive, plain.send)
    assert other.status == b"%d" % Code.UNIMPLEMENTED
    assert plain.status == b"%d" % Code.INTERNAL


async def test_a_method_may_choose_its_status() -> None:
    """What ``fault`` makes of an exception is told as it is."""

    async def picky(_message: bytes) -> bytes:
        raise ValueError("no")

    method = Method(picky, lambda error: CallFailed(Code.INVALID_ARGUMENT, str(error)), 100)
    client = Client()
    calls = Calls({PATH: method}, asyncio.get_running_loop())
    await calls.answer(scope(), client.receive, client.send)
    assert client.status == b"%d" % Code.INVALID_ARGUMENT
