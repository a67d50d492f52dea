"""Sending many requests at once, and waiting for what has to come of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg
import httpx

from tests.chaos.arena import CREDIT, Arena
from tests.chaos.quiet import replay_here
from tests.chaos.traffic import CLIENT_TIMEOUT_S, KINDS, Answer, Payer
from tests.chaos.verdict import Books, judge

WAIT_S = 30.0


async def push(
    arena: Arena, payer: Payer, requests: int, *, kind: str = "ping", delay_ms: int = 0
) -> list[Answer]:
    """So many requests at the same moment, each over a connection of its own."""
    asked = (_get(arena, payer, kind, delay_ms) for _ in range(requests))
    answers = await asyncio.gather(*asked)
    arena.answers += answers
    return answers


async def _get(arena: Arena, payer: Payer, kind: str, delay_ms: int) -> Answer:
    """One request by hand: thousands at once are too many for a client that does more."""
    host, _, port = arena.stack.gateway_url.removeprefix("http://").rpartition(":")
    lines = [
        f"GET {KINDS[kind].path} HTTP/1.1",
        f"host: {host}",
        "connection: close",
        f"x-example-note: {kind}",
        f"x-example-delay-ms: {delay_ms}",
        *(f"{name}: {value}" for name, value in payer.customer.headers.items()),
    ]
    began_s, clock_s = time.time(), time.monotonic()
    async with asyncio.timeout(CLIENT_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    status, request_id = _read_head(head.decode("latin-1"))
    code = "" if status == httpx.codes.OK else str(json.loads(body)["error"]["code"])
    took_s = time.monotonic() - clock_s
    return Answer(began_s, took_s, payer.customer.account_id, kind, status, code, request_id)


def _read_head(head: str) -> tuple[int, str]:
    """The status of an answer, and its request id."""
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers.get("x-request-id", "")


async def until_well(arena: Arena) -> None:
    """Wait until every worker answers: whatever a test broke before this one is over."""
    well = next((p for p in arena.payers.values() if p.customer.name == "well"), None)
    payer = well or await arena.open_payer("well", 1_000_000, {"ping": 1})

    async def holds() -> bool:
        return passed(await push(arena, payer, 4 * len(arena.stack.parts))) == 4 * len(
            arena.stack.parts
        )

    await until(holds, "the stack is well again")
    await until(holds, "and still is")


async def spend(arena: Arena, payer: Payer, answers: list[Answer], covered: int) -> None:
    """Send more until so many passed in all; what nobody knows of may be held for seconds."""

    async def holds() -> bool:
        answers.extend(await push(arena, payer, 20))
        return passed(answers) >= covered

    await until(holds, f"{covered} answered")


def passed(answers: list[Answer]) -> int:
    """How many were answered by the upstream."""
    return sum(answer.status == httpx.codes.OK for answer in answers)


def told(answers: list[Answer]) -> Counter[str]:
    """What clients were told, counted."""
    return Counter(f"{answer.status} {answer.code}".strip() for answer in answers)


async def until(holds: Callable[[], Awaitable[bool]], what: str, wait_s: float = WAIT_S) -> float:
    """Wait until something holds; returns the seconds that it took."""
    began_s = time.monotonic()
    while not await holds():
        if time.monotonic() - began_s > wait_s:
            raise AssertionError(f"not within {wait_s} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began_s


async def states(arena: Arena, payer: Payer) -> Counter[str]:
    """How many reservations of a payer are in which state."""
    connection = await asyncpg.connect(arena.dsn)
    try:
        rows = await connection.fetch(
            "SELECT state, count(*) FROM reservations WHERE account_id = $1 GROUP BY state",
            payer.customer.account_id,
        )
    finally:
        await connection.close()
    return Counter({row["state"]: row["count"] for row in rows})


async def count(arena: Arena, payer: Payer, state: str) -> int:
    """How many reservations of a payer are in that state."""
    return (await states(arena, payer))[state]


async def until_ended(arena: Arena, payer: Payer, state: str, number: int) -> float:
    """Wait until so many reservations of a payer ended so."""

    async def holds() -> bool:
        return await count(arena, payer, state) >= number

    try:
        return await until(holds, f"{number} {state}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {dict(await states(arena, payer))}") from None


async def expect_exact_books(arena: Arena, payer: Payer, answers: list[Answer]) -> Books:
    """Assert that nothing differs, and that this payer paid for these answers and no more."""
    books, found = await judge(arena, replay_here)
    assert not found, "\n".join(found)
    if set(payer.kinds) - {"ping", "spare"}:
        return books  # the verdict has added their prices up
    left = payer.paid_in_nanos - passed(answers) * CREDIT
    assert books.posted[payer.customer.account_id] == left
    return books
