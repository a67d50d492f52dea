"""The requests of the demo, and how each decision is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console
from rich.json import JSON
from rich.padding import Padding

CHAT = {
    "model": "gpt-4o-mini",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "Say something about double-entry bookkeeping."}],
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a client sends it; ``body`` is JSON, or nothing."""

    title: str
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


PAID = (
    Request("LLM, one answer", "POST", "/v1/chat/completions", CHAT),
    Request(
        "LLM, a stream (SSE)",
        "POST",
        "/v1/chat/completions",
        {**CHAT, "stream": True, "stream_options": {"include_usage": True}},
    ),
    Request(
        "JSON-RPC, a batch of two",
        "POST",
        "/rpc/ethereum",
        [
            {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": []},
            {"jsonrpc": "2.0", "id": 2, "method": "debug_traceTransaction", "params": []},
        ],
    ),
    Request("a tool run", "POST", "/tools/run", {"cpu_ms": 1500, "memory_mib": 512}),
    Request("a cost that the upstream reports", "POST", "/reported/v1/chat/completions", CHAT),
    Request("a flat price", "GET", "/flat/ping"),
)
PING = PAID[-1]
NO_KEY = Request("without a key", "GET", "/flat/ping", headers={"authorization": ""})


async def send(client: httpx.AsyncClient, request: Request, key: str = "") -> httpx.Response:
    """Send one request with the customer's key, unless it brings its own header."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await client.request(request.method, request.path, json=request.body, headers=headers)


def show(console: Console, request: Request, answer: httpx.Response, *, body: bool = False) -> None:
    """One line for a decision: what was held and what is left; a refusal with its body."""
    passed = answer.status_code == httpx.codes.OK
    mark = "[green]paid   [/]" if passed else "[red]refused[/]"
    held = answer.headers.get("x-credits-reserved", "-")
    left = answer.headers.get("x-credits-remaining", "-")
    console.print(
        f"  {mark} {answer.status_code}  {request.title:<34} held {held:>12}   left {left:>14}"
    )
    if not passed or body:
        console.print(Padding(JSON(answer.text), (0, 0, 0, 12)))
