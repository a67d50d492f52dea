"""Clients who ask often enough for leases, and how many leases the workers have and draw from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from tests.e2e.stage import Stage
from tollkeeper.stack.customers import Customer

ALLOWED = "allowed"
OPEN_TIMEOUT_S = 10.0
DRAWN = "tollkeeper_lease_draws_total"
STANDING = "tollkeeper_leases"


class Heard(NamedTuple):
    """One answer, its code or ``allowed``, between two times of ``time.monotonic``."""

    asked_s: float
    heard_s: float
    code: str


async def ask(client: httpx.AsyncClient, path: str) -> Heard:
    """One request."""
    asked_s = time.monotonic()
    answer = await client.get(path)
    code = ALLOWED if answer.status_code == httpx.codes.OK else answer.json()["error"]["code"]
    return Heard(asked_s, time.monotonic(), code)


async def send(stage: Stage, customer: Customer, path: str, clients: int, each: int) -> list[Heard]:
    """So many clients with so many requests each, one after the other."""
    async with stage.client(customer) as client:

        async def one() -> list[Heard]:
            return [await ask(client, path) for _ in range(each)]

        found = await asyncio.gather(*(one() for _ in range(clients)))
    return [heard for some in found for heard in some]


@asynccontextmanager
async def hammered(
    stage: Stage, customer: Customer, path: str, clients: int, pause_s: float = 0.0
) -> AsyncIterator[list[Heard]]:
    """Meanwhile so many clients ask, with that pause after each answer, and every worker has a
    lease when the block begins; what they heard is complete when it has ended."""
    heard: list[Heard] = []
    stop = asyncio.Event()
    async with stage.client(customer) as client, asyncio.TaskGroup() as asking:

        async def one() -> None:
            while not stop.is_set():
                heard.append(await ask(client, path))
                await asyncio.sleep(pause_s)

        for _ in range(clients):
            asking.create_task(one())
        try:
            await until_leased(stage)
            yield heard
        finally:
            stop.set()


async def until_leased(stage: Stage) -> None:
    """Wait until every worker has a lease."""
    async with asyncio.timeout(OPEN_TIMEOUT_S):
        while not all(await stage.authz_counts(STANDING)):
            await asyncio.sleep(0.02)


async def drawn(stage: Stage) -> list[int]:
    """How many requests each worker admitted from leases."""
    return await stage.authz_counts(DRAWN)
