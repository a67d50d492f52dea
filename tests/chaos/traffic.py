"""Clients that never stop: requests of all meters from several accounts, and what they are told."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from tollkeeper.stack.customers import Customer

CLIENT_TIMEOUT_S = 20.0
PAUSE_S = 0.02
HURRIED_PAUSE_S = 0.01
REFUSED_PAUSE_S = 0.1
CHAT = {
    "model": "gpt-4o-mini",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "keep my books in order please"}],
}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
BATCH = [
    {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": []},
    {"jsonrpc": "2.0", "id": 2, "method": "eth_getLogs", "params": []},
]
RUN = {"cpu_ms": 1_000, "memory_mib": 1_024, "cpu_s": 2, "duration_s": 20}


class Kind(NamedTuple):
    """A kind of request: its route and how it is sent."""

    route: str
    method: str
    path: str
    body: Any = None


KINDS = {
    "ping": Kind("ping", "GET", "/flat/ping"),
    "spare": Kind("spare", "GET", "/spare/ping"),
    "inline": Kind("inline", "GET", "/inline/ping"),
    "chat": Kind("chat", "POST", "/v1/chat/completions", CHAT),
    "stream": Kind("chat", "POST", "/v1/chat/completions", STREAM),
    "batch": Kind("ethereum", "POST", "/rpc/ethereum", BATCH),
    "run": Kind("tool", "POST", "/tools/run", RUN),
    "reported": Kind("reported", "POST", "/reported/v1/chat/completions", CHAT),
}
ALL_KINDS = dict.fromkeys(KINDS, 1)


class Answer(NamedTuple):
    """What a client was told: a status with its code, or 0 with the fault of the connection."""

    began_s: float
    took_s: float
    account_id: str
    kind: str
    status: int
    code: str
    request_id: str


@dataclass
class Payer:
    """Who sends requests: which kinds by weight, and what they paid in and when. A hurried one has
    so many clients, who ask as fast as they are answered."""

    customer: Customer
    kinds: dict[str, int]
    paid_in: list[tuple[float, int]] = field(default_factory=list)
    hurried: int = 0

    @property
    def paid_in_nanos(self) -> int:
        return sum(amount for _, amount in self.paid_in)


@dataclass
class Witness:
    """What was seen from outside: payers by account, what they were told, when Envoy was killed,
    and which entries a test gave to quarantine on purpose, by reason."""

    payers: dict[str, Payer] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    envoy_kills_s: list[float] = field(default_factory=list)
    worker_kills_s: list[float] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)


async def ask(client: httpx.AsyncClient, payer: Payer, kind: str, delay_ms: int = 0) -> Answer:
    """Send one request, and say what came of it."""
    wanted = KINDS[kind]
    headers = {**payer.customer.headers, "x-example-note": kind}
    if delay_ms:
        headers["x-example-delay-ms"] = str(delay_ms)
    began_s, clock_s = time.time(), time.monotonic()
    status, code, request_id = 0, "", ""
    try:
        answer = await client.request(wanted.method, wanted.path, json=wanted.body, headers=headers)
        status, request_id = answer.status_code, answer.headers.get("x-request-id", "")
        code = "" if status == httpx.codes.OK else _code(answer)
    except httpx.TimeoutException:
        code = "no answer"
    except httpx.TransportError as error:
        code = type(error).__name__
    took_s = time.monotonic() - clock_s
    account_id = payer.customer.account_id
    return Answer(began_s, took_s, account_id, kind, status, code, request_id)


def _code(answer: httpx.Response) -> str:
    try:
        told = answer.json()
        error = (told[0] if isinstance(told, list) else told)["error"]  # a batch has many answers
        return str(error.get("data", error)["code"])
    except (ValueError, KeyError, TypeError, IndexError):
        return "no code"


async def keep_asking(
    gateway_url: str, payer: Payer, dice: random.Random, heard: list[Answer], stop: asyncio.Event
) -> None:
    """Send one request after the other until told to stop; no request is broken off."""
    kinds, weights = list(payer.kinds), list(payer.kinds.values())
    async with new_client(gateway_url) as client:
        while not stop.is_set():
            kind = dice.choices(kinds, weights)[0]
            delay_ms = 0 if payer.hurried else dice.choice((0, 0, 0, 20, 200))
            answer = await ask(client, payer, kind, delay_ms)
            heard.append(answer)
            await asyncio.sleep(_pause_s(payer, answer) * (1 + dice.random()))


def _pause_s(payer: Payer, answer: Answer) -> float:
    if answer.status != httpx.codes.OK:
        return REFUSED_PAUSE_S
    return HURRIED_PAUSE_S if payer.hurried else PAUSE_S


def new_client(gateway_url: str) -> httpx.AsyncClient:
    """A client of the gateway without a bound on its connections."""
    return httpx.AsyncClient(
        base_url=gateway_url,
        timeout=CLIENT_TIMEOUT_S,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
    )
