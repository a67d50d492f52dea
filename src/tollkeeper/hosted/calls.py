"""One gRPC call over ASGI, from its headers to its trailers.

What a response says beside its message is the same for every call, so it stands here ready made.
A status other than OK needs no message: its headers say everything (*trailers-only*).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tollkeeper.hosted.frames import (
    ACCEPTED_ENCODINGS,
    HEADER_BYTES,
    read_frame,
    refuse_encoding,
    too_large,
    write_frame,
)
from tollkeeper.hosted.patience import Call, Patience, Receive
from tollkeeper.hosted.status import CallFailed, Code, message_header
from tollkeeper.hosted.timeouts import Timeouts

Send = Callable[[dict[str, Any]], Awaitable[None]]
Scope = dict[str, Any]
Answer = Callable[[bytes], Awaitable[bytes]]

logger = logging.getLogger(__name__)

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": ((b"content-type", b"application/grpc"),),
    "trailers": True,
}
_TRAILERS = {"type": "http.response.trailers", "headers": ((b"grpc-status", b"0"),)}
_GRPC = b"application/grpc"


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method over bytes.

    ``fault`` turns what ``call`` raises into a status; ``None`` is a fault of ours. ``gone`` is
    told the answers that nobody took: their client had left before.
    """

    call: Answer
    fault: Callable[[Exception], CallFailed | None]
    max_bytes: int
    gone: Callable[[bytes], None] | None = None


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
            await self._answer(scope, receive, send)
        except CallFailed as failed:
            self.ended[failed.code.name] += 1
            await _fail(send, failed)
        except OSError:
            self.ended["CANCELLED"] += 1  # the client left; pyvoy has nobody to send to
        finally:
            self.in_flight -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = self._loop.time()
        method = self._methods.get(scope["path"])
        if method is None:
            raise CallFailed(Code.UNIMPLEMENTED, f"no method {scope['path']}")
        encoding, timeout_s = self._read_headers(scope)
        body = await _read_body(receive, method.max_bytes)
        if body is None:
            self.ended["CANCELLED"] += 1
            return
        message = read_frame(body, encoding, method.max_bytes)
        call = self._patience.begin(receive, began_s, timeout_s)
        answer = await _run(method, message, call)
        if answer is None:
            self.ended["CANCELLED"] += 1
            return
        try:
            await send(_START)
            await send({"type": "http.response.body", "body": write_frame(answer)})
            await send(_TRAILERS)
        except OSError:
            if method.gone is not None:
                method.gone(answer)
            raise
        self.ended["OK"] += 1

    def _read_headers(self, scope: Scope) -> tuple[bytes, float | None]:
        """The encoding of the message and the time that the client gives it."""
        encoding, timeout_s, is_grpc = b"", None, False
        for name, value in scope["headers"]:
            if name == b"grpc-timeout":
                timeout_s = self._timeouts.read(value)
            elif name == b"content-type":
                is_grpc = value.startswith(_GRPC)
            elif name == b"grpc-encoding":
                encoding = value
                if fault := refuse_encoding(value):
                    raise fault
        if not is_grpc or scope["method"] != "POST":
            raise CallFailed(Code.INTERNAL, "no gRPC call: POST with application/grpc")
        return encoding, timeout_s


async def _read_body(receive: Receive, max_bytes: int) -> bytes | None:
    """All that the client sent; ``None`` when it left before the end."""
    event = await receive()
    if event["type"] == "http.disconnect":
        return None
    body: bytes = event.get("body", b"")
    while event.get("more_body", False):
        # A frame says first how long it is: what is too long is not waited for.
        declared_bytes = int.from_bytes(body[1:HEADER_BYTES], "big")
        if len(body) >= HEADER_BYTES and declared_bytes > max_bytes:
            raise too_large(declared_bytes, max_bytes)
        if len(body) > max_bytes + HEADER_BYTES:
            raise too_large(len(body), max_bytes)
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
    return body


async def _run(method: Method, message: bytes, call: Call) -> bytes | None:
    """The answer; ``None`` when the client left before it."""
    task = call.task
    try:
        return await method.call(message)
    except asyncio.CancelledError:
        if not call.ending or task is None:
            raise
        task.uncancel()
        if call.ending == "gone":
            return None
        raise CallFailed(Code.DEADLINE_EXCEEDED, "the deadline is over") from None
    except Exception as error:
        failed = method.fault(error)
        if failed is None:
            logger.exception("a call failed")
            failed = CallFailed(Code.UNAVAILABLE, "the call failed")
        raise failed from error
    finally:
        call.task = None


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
