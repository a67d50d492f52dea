"""One gRPC call over ASGI, from its headers to its trailers.

What a response says beside its message is the same for every call, so it stands here ready made.
A status other than OK needs no message: its headers say everything (*trailers-only*).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tollkeeper.hosted.patience import Call, Patience, Receive
from tollkeeper.unary.frames import (
    ACCEPTED_ENCODINGS,
    HEADER_BYTES,
    read_frame,
    too_large,
    write_frame,
)
from tollkeeper.unary.method import Method
from tollkeeper.unary.opening import find_method, read_headers
from tollkeeper.unary.status import CallFailed, Code, message_header
from tollkeeper.unary.timeouts import Timeouts

Send = Callable[[dict[str, Any]], Awaitable[None]]
Scope = dict[str, Any]

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": ((b"content-type", b"application/grpc"),),
    "trailers": True,
}
_TRAILERS = {"type": "http.response.trailers", "headers": ((b"grpc-status", b"0"),)}
_GRPC = b"application/grpc"


class ClientGone(OSError):
    """The client left before it was answered; what pyvoy raises then is an ``OSError``, too."""


class Calls:
    """Answers calls of ``methods``, by path, on one event loop. ``in_flight`` and ``ended`` (by
    status name) count."""

    def __init__(self, methods: Mapping[str, Method], loop: asyncio.AbstractEventLoop) -> None:
        self._methods = methods
        self._loop = loop
        self._patience = Patience(loop)
        self._timeouts = Timeouts()
        self.in_flight = 0
        self.ended: Counter[str] = Counter()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call; never raises but by cancellation from outside."""
        self.in_flight += 1
        try:
            began_s = self._loop.time()
            method = find_method(self._methods, scope["path"])
            encoding, timeout_s = read_headers(scope["method"], scope["headers"], self._timeouts)
            event = await receive()
            body = event.get("body", b"")
            if event["type"] == "http.disconnect" or event.get("more_body", False):
                body = await _read_rest(event, receive, method.max_bytes)
            message = read_frame(body, encoding, method.max_bytes)
            call = self._patience.begin(receive, began_s, timeout_s)
            try:
                answer = await method.call(message)
            except asyncio.CancelledError:
                if not call.ending:
                    raise
                raise _why_ended(call) from None
            except Exception as error:
                raise method.failed(error) from error
            finally:
                call.task = None
            await _succeed(method, answer, send)
            self.ended["OK"] += 1
        except CallFailed as failed:
            self.ended[failed.code.name] += 1
            await _fail(send, failed)
        except OSError:
            self.ended["CANCELLED"] += 1  # the client left; pyvoy has nobody to send to
        finally:
            self.in_flight -= 1


async def _read_rest(event: dict[str, Any], receive: Receive, max_bytes: int) -> bytes:
    """All that the client sends, from its first event on; raises when it leaves before the end."""
    body = b""
    while True:
        if event["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = event.get("body", b"")
        body += piece
        if not event.get("more_body", False):
            return body
        # A frame says first how long it is: what is too long is not waited for.
        declared_bytes = int.from_bytes(body[1:HEADER_BYTES], "big")
        if len(body) >= HEADER_BYTES and declared_bytes > max_bytes:
            raise too_large(declared_bytes, max_bytes)
        if len(body) > max_bytes + HEADER_BYTES:
            raise too_large(len(body), max_bytes)
        event = await receive()


def _why_ended(call: Call) -> Exception:
    """Why we cancelled the call, which is thereby no cancellation any more."""
    assert call.task is not None, "it is still under way"
    call.task.uncancel()
    if call.ending == "gone":
        return ClientGone()
    return CallFailed(Code.DEADLINE_EXCEEDED, "the deadline is over")


async def _succeed(method: Method, answer: bytes, send: Send) -> None:
    try:
        await send(_START)
        await send({"type": "http.response.body", "body": write_frame(answer)})
        await send(_TRAILERS)
    except OSError:
        if method.gone is not None:
            method.gone(answer)
        raise


async def _fail(send: Send, failed: CallFailed) -> None:
    headers = [
        (b"content-type", _GRPC),
        (b"grpc-status", b"%d" % failed.code),
        (b"grpc-message", message_header(failed.message)),
    ]
    if failed.code is Code.UNIMPLEMENTED:
        headers.append((b"grpc-accept-encoding", ACCEPTED_ENCODINGS))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        return  # the client left meanwhile: the status was for it alone
