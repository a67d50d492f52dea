"""Bodies at the door: only JSON, only so large, only so slow.

A whole body is read before any handler runs, so no handler ever waits for a client.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tollkeeper.admin.problems import problem

MAX_BODY_BYTES = 64 << 10
"""The largest body of ours, an estimate of 1 000 methods, needs about 40 KiB."""
BODY_TIMEOUT_S = 10.0
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
]
"""On every answer: nothing here is to be kept, guessed at, or run by a browser."""


class BodyGuard:
    """Refuses bodies that are too large (413), too slow (408) or not JSON (415)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        careful = _with_headers(send)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read(scope, receive)
        except TimeoutError:
            answer = problem(408, "too_slow", f"the body did not come within {BODY_TIMEOUT_S:g} s")
            await answer(scope, receive, careful)
            return
        if body is None:
            answer = problem(413, "body_too_large", f"a body has at most {MAX_BODY_BYTES} bytes")
            await answer(scope, receive, careful)
            return
        if body and not _is_json(scope):
            answer = problem(415, "not_json", "send the body as content-type: application/json")
            await answer(scope, receive, careful)
            return
        await self._app(scope, _once(body, receive), careful)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; ``None`` as soon as it is known to be too large."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if not declared.isdigit() or int(declared) > MAX_BODY_BYTES:
        return None
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(parts)
        parts += message.get("body", b"")
        if len(parts) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(parts)


def _is_json(scope: Scope) -> bool:
    declared = dict(scope["headers"]).get(b"content-type", b"")
    return bool(declared.partition(b";")[0].strip().lower() == b"application/json")


def _once(body: bytes, receive: Receive) -> Receive:
    """Hand the body over in one message, then whatever the server says next."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send) -> Send:
    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message.get("headers", [])}
            added = [(name, value) for name, value in HEADERS if name not in known]
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return careful
