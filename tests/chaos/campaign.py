"""A campaign: traffic, a seeded schedule of faults, how soon each was over, and the verdict."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import httpx

from tests.chaos.arena import Arena
from tests.chaos.faults import FAULTS
from tests.chaos.traffic import ALL_KINDS, Payer, ask, keep_asking, new_client
from tests.chaos.verdict import Books, judge

RECOVERY_TIMEOUT_S = 45.0
TWO_AT_ONCE = 0.3
EXPECTED_STATUSES = {0, 200, 402, 429, 503}


class Step(NamedTuple):
    """One step of a schedule: faults that happen at once, and the pause after they are over."""

    number: int
    faults: tuple[str, ...]
    pause_s: float


def schedule(seed: int) -> Iterator[Step]:
    """Steps without end, the same for the same seed; the first ones try every kind once."""
    dice = random.Random(seed)
    order = list(FAULTS)
    dice.shuffle(order)
    for number in itertools.count():
        name = order[number] if number < len(order) else dice.choice(list(FAULTS))
        faults = [name]
        if dice.random() < TWO_AT_ONCE:
            faults.append(dice.choice([other for other in FAULTS if other != name]))
        yield Step(number, tuple(faults), round(dice.uniform(0.1, 1.5), 3))


class Recovery(NamedTuple):
    """After the end of a fault: seconds until a request was answered, until it was settled."""

    answered_s: float
    settled_s: float


@dataclass
class Report:
    """What a campaign tried and found."""

    seed: int
    seconds: float = 0.0
    tried: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, list[Recovery]] = field(default_factory=lambda: defaultdict(list))
    heard: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    differences: list[str] = field(default_factory=list)
    books: Books | None = None
    answers: Counter[str] = field(default_factory=Counter)


async def open_payers(arena: Arena) -> Payer:
    """Who takes part: two who must never pass their balance, rich and poor, one with quotas."""
    await arena.open_payer("poor", 150, {"ping": 1})
    await arena.open_payer("steady", 1_500, {"ping": 1})
    await arena.open_payer("rich", 1_000_000, ALL_KINDS)
    await arena.open_payer("varied", 100_000, ALL_KINDS)
    await arena.open_payer("narrow", 100_000, {"ping": 2, "chat": 1, "stream": 1}, plan="narrow")
    return await arena.open_payer("probe", 1_000_000, {"spare": 1})


@asynccontextmanager
async def traffic(arena: Arena, seed: int, each: int = 2) -> AsyncIterator[None]:
    """Every payer but the probe sends requests, ``each`` at a time."""
    stop = asyncio.Event()
    clients = [
        asyncio.create_task(
            keep_asking(
                arena.stack.gateway_url,
                payer,
                random.Random(f"{seed}/{payer.customer.name}/{number}"),
                arena.answers,
                stop,
            )
        )
        for payer in arena.payers.values()
        if payer.customer.name != "probe"
        for number in range(each)
    ]
    try:
        yield
        for client in clients:
            assert not client.done(), f"traffic ended early: {client}"
    finally:
        stop.set()
        await asyncio.wait(clients)


async def recover(arena: Arena, probe: Payer) -> Recovery:
    """Wait until a request is answered, and until a request of then is settled."""
    began_s = time.monotonic()
    async with asyncio.timeout(RECOVERY_TIMEOUT_S), new_client(arena.stack.gateway_url) as client:
        while (answer := await _probe(arena, client, probe)) == "":
            await asyncio.sleep(0.05)
        answered_s = time.monotonic() - began_s
        while not await _is_settled(arena, answer):
            await asyncio.sleep(0.05)
    return Recovery(answered_s, time.monotonic() - began_s)


async def _probe(arena: Arena, client: httpx.AsyncClient, probe: Payer) -> str:
    """The request id of an answered probe, or an empty text."""
    answer = await ask(client, probe, "spare")
    arena.answers.append(answer)
    return answer.request_id if answer.status == httpx.codes.OK else ""


async def _is_settled(arena: Arena, request_id: str) -> bool:
    try:
        connection = await asyncpg.connect(arena.dsn, timeout=2.0)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        found = await connection.fetchval(
            "SELECT true FROM usage_events WHERE reservation_id = $1", request_id
        )
    finally:
        await connection.close()
    return found is True


async def take(arena: Arena, probe: Payer, step: Step, report: Report) -> None:
    """One step: break, recover, note what clients heard meanwhile."""
    heard_before = len(arena.answers)
    dice = random.Random(f"{report.seed}/{step.number}")
    await asyncio.gather(
        *(FAULTS[name](arena, random.Random(dice.random())) for name in step.faults)
    )
    report.tried.update(step.faults)
    try:
        recovery = await recover(arena, probe)
    except TimeoutError:
        report.differences.append(f"{step}: not recovered after {RECOVERY_TIMEOUT_S} s")
        return
    name = " + ".join(step.faults)
    report.recoveries[name].append(recovery)
    for answer in arena.answers[heard_before:]:
        report.heard[name][f"{answer.status} {answer.code}".strip()] += 1
    await asyncio.sleep(step.pause_s)


async def run_campaign(
    arena: Arena, seed: int, steps: Sequence[Step] | None, for_s: float
) -> Report:
    """Take steps until the time is over (or all of ``steps``), quieten, judge."""
    report = Report(seed)
    probe = await open_payers(arena)
    began_s = time.monotonic()
    async with traffic(arena, seed):
        await asyncio.sleep(1.0)
        for step in steps if steps is not None else schedule(seed):
            if time.monotonic() - began_s > for_s:
                break
            await take(arena, probe, step, report)
        arena.stack.middleman.mischief = "none"
    report.seconds = time.monotonic() - began_s
    report.books, found = await judge(arena)
    report.differences += found
    report.answers = Counter(f"{a.status} {a.code}".strip() for a in arena.answers)
    unexpected = {a.status for a in arena.answers} - EXPECTED_STATUSES
    if unexpected:
        report.differences.append(f"answers that no client should see: {unexpected}")
    return report
