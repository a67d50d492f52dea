"""The paths of the example upstream, and what each answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from devstack.upstream import chat, rpc
from devstack.upstream.behaviour import PLAIN, BadBehaviour, Behaviour, from_headers, from_json
from devstack.upstream.chat import BadRequest, Completion
from devstack.upstream.seen import Ending, Seen
from devstack.upstream.wire import Exchange, Reply, Request, Slow

CHAT_PATH = "/v1/chat/completions"
REPORTED_PATH = "/reported/v1/chat/completions"
RPC_PATH = "/rpc/ethereum"
TOOL_PATH = "/tools/run"
PING_PATH = "/flat/ping"

CPU_MS = 1_000
MEMORY_MIB = 256
"""What a tool run reports when its body (``cpu_ms``, ``memory_mib``) does not say."""

MAX_TOLD = 10_000
"""Answers that can be told in advance to misbehave, for each path."""


class Upstream:
    """Answers requests; holds the counts and the instructions for answers to come."""

    def __init__(self) -> None:
        self.seen = Seen()
        self._told: dict[str, deque[Behaviour]] = {}
        self._served: dict[tuple[str, str], Callable[[Request, Behaviour], Reply | Slow]] = {
            ("POST", CHAT_PATH): self._chat,
            ("POST", REPORTED_PATH): self._chat,
            ("POST", RPC_PATH): self._rpc,
            ("POST", TOOL_PATH): self._tool,
            ("GET", PING_PATH): self._ping,
        }

    def __call__(self, request: Request) -> Reply | Slow:
        """Answer one request."""
        path = request.path
        serve = self._served.get((request.method, path))
        if serve is None:
            return self._control(request)
        self.seen.count(path).received += 1
        self.seen.remember(path, request.target, request.headers)
        try:
            behaviour = from_headers(request.headers, self._told_for(path))
            if behaviour.status is not None:
                return self._failing(path, behaviour)
            return serve(request, behaviour)
        except (BadBehaviour, BadRequest) as error:
            self.seen.count(path).failed += 1
            return _json(400, {"error": {"message": str(error), "type": "invalid_request_error"}})

    def _control(self, request: Request) -> Reply:
        match request.method, request.path:
            case "GET", "/_seen":
                return _json(200, self.seen.as_json())
            case "GET", "/_noted":
                return _json(200, self.seen.noted_as_json())
            case "POST", "/_reset":
                self.seen.reset()
                self._told.clear()
                return _json(200, {})
            case "POST", "/_behave":
                return self._tell(request)
        return _json(404, {"error": {"message": "no such path", "type": "not_found"}})

    def _tell(self, request: Request) -> Reply:
        try:
            told = _parsed(request)
            path, times = _addressed(told, {path for _, path in self._served})
            row = self._told.setdefault(path, deque(maxlen=MAX_TOLD))
            row.extend([from_json(told)] * times)
        except (BadBehaviour, BadRequest) as error:
            return _json(400, {"error": {"message": str(error)}})
        return _json(200, {})

    def _told_for(self, path: str) -> Behaviour:
        row = self._told.get(path)
        return row.popleft() if row else PLAIN

    def _failing(self, path: str, behaviour: Behaviour) -> Reply | Slow:
        assert behaviour.status is not None
        reply = _json(behaviour.status, {"error": {"message": "as told", "type": "example"}})
        return _answer(reply, behaviour, Ending(self.seen.count(path), failing=True))

    def _chat(self, request: Request, behaviour: Behaviour) -> Reply | Slow:
        completion = chat.complete(_parsed(request), behaviour)
        headers: list[tuple[str, str]] = []
        if request.path == REPORTED_PATH and (cost := completion.cost_text(behaviour)):
            headers.append((chat.COST_HEADER, cost))
        ending = Ending(
            self.seen.count(request.path),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            answered=self._noter(request, behaviour),
        )
        if completion.stream:
            return Streaming(completion, behaviour, headers, ending)
        return _answer(_json(200, chat.whole_answer(completion), headers), behaviour, ending)

    def _rpc(self, request: Request, behaviour: Behaviour) -> Reply | Slow:
        answer, calls = rpc.answer(_parsed(request), behaviour.bytes)
        reply = _json(200, answer) if answer is not None else Reply(204, b"")
        noter = self._noter(request, behaviour)
        ending = Ending(self.seen.count(request.path), calls=calls, answered=noter)
        return _answer(reply, behaviour, ending)

    def _tool(self, request: Request, behaviour: Behaviour) -> Reply | Slow:
        asked = _parsed(request)
        if not isinstance(asked, dict):
            raise BadRequest("the body must be an object")
        cpu_ms, memory_mib = asked.get("cpu_ms", CPU_MS), asked.get("memory_mib", MEMORY_MIB)
        headers = [("x-tool-cpu-ms", str(cpu_ms)), ("x-tool-memory-mib", str(memory_mib))]
        if not all(text.isascii() and text.isprintable() for _, text in headers):
            raise BadRequest("cpu_ms and memory_mib must fit into a header")
        if behaviour.tool_report == "none":
            headers = []
        reply = _json(200, {"ok": True, "padding": "." * behaviour.bytes}, headers)
        return _answer(reply, behaviour, self._plain_ending(request, behaviour))

    def _ping(self, request: Request, behaviour: Behaviour) -> Reply | Slow:
        ending = self._plain_ending(request, behaviour)
        return _answer(_json(200, {"pong": True}), behaviour, ending)

    def _plain_ending(self, request: Request, behaviour: Behaviour) -> Ending:
        noter = self._noter(request, behaviour)
        return Ending(self.seen.count(request.path), answered=noter)

    def _noter(self, request: Request, behaviour: Behaviour) -> Callable[[], None] | None:
        """Who notes the answer of a request that asks for it."""
        if not behaviour.note:
            return None
        return lambda: self.seen.note(behaviour.note, request.headers, time.time())


@dataclass(frozen=True, slots=True)
class Streaming:
    """A completion event by event, until its end or until it is told to hang up."""

    completion: Completion
    behaviour: Behaviour
    headers: Sequence[tuple[str, str]]
    ending: Ending

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await asyncio.sleep(self.behaviour.delay_ms / 1000)
            if await self._whole(exchange):
                self.ending.complete()
                return
        except (asyncio.CancelledError, ConnectionError):
            self.ending.cut()
            raise
        await _hang_up(exchange, self.ending)

    async def _whole(self, exchange: Exchange) -> bool:
        """Write the stream; False when it was told to break off."""
        hang_up_after = self.behaviour.hang_up_after
        if hang_up_after == 0:
            return False
        await exchange.start_stream(self.headers, "text/event-stream")
        for sent, event in enumerate(chat.chunks(self.completion)):
            if sent == hang_up_after:
                return False
            if self.behaviour.chunk_delay_ms:
                await asyncio.sleep(self.behaviour.chunk_delay_ms / 1000)
            await exchange.chunk(event)
        await exchange.end_stream()
        return True


@dataclass(frozen=True, slots=True)
class Waiting:
    """A whole answer after its delay, or the first part of one."""

    reply: Reply
    behaviour: Behaviour
    ending: Ending

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await asyncio.sleep(self.behaviour.delay_ms / 1000)
            if self.behaviour.hang_up_after is None:
                await exchange.reply(self.reply)
                self.ending.complete()
                return
            if self.behaviour.hang_up_after > 0:
                await exchange.half_of(self.reply)
        except (asyncio.CancelledError, ConnectionError):
            self.ending.cut()
            raise
        await _hang_up(exchange, self.ending)


def _answer(reply: Reply, behaviour: Behaviour, ending: Ending) -> Reply | Slow:
    if behaviour.at_once:
        ending.complete()
        return reply
    return Waiting(reply, behaviour, ending)


async def _hang_up(exchange: Exchange, ending: Ending) -> None:
    """Close the connection, after what was written had a moment to leave."""
    ending.hung_up()
    await asyncio.sleep(0.01)
    exchange.hang_up()


def _addressed(told: Any, paths: set[str]) -> tuple[str, int]:
    """Take path and times out of what ``/_behave`` was told."""
    path = told.pop("path", None) if isinstance(told, dict) else None
    if path not in paths:
        raise BadBehaviour(f"path must be one of {', '.join(sorted(paths))}")
    times = told.pop("times", 1)
    if not isinstance(times, int) or not 1 <= times <= MAX_TOLD:
        raise BadBehaviour(f"times is a whole number from 1 to {MAX_TOLD}")
    return path, times


def _parsed(request: Request) -> Any:
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error


def _json(status: int, value: Any, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), headers)
