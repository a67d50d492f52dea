"""A campaign: traffic, a seeded schedule of faults, how soon each was over, and the verdict."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import httpx

from tests.chaos.arena import Arena
from tests.chaos.faults import FAULTS
from tests.chaos.traffic import ALL_KINDS, Answer, Payer, ask, keep_asking, new_client
from tests.chaos.verdict import Books, judge, unused_leases

RECOVERY_TIMEOUT_S = 45.0
PROBE_PAUSE_S = 0.05
TWO_AT_ONCE = 0.3
TOP_UP_PAUSE_S = 1.5
TOP_UPS = (("poor", 20, 1), ("brisk", 300, 2))
"""Who pays in how many credits at each so many-th time: less than they spend, so both run out; the
brisk one so seldom that leases are granted again since they were called back."""
LEASES_OPEN_S = 20.0
"""On a machine on which a worker needs seconds to be there again."""
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
    leases: Counter[str] = field(default_factory=Counter)


async def open_payers(arena: Arena) -> Payer:
    """Who takes part: some who must never pass their balance, rich and poor, some with quotas.

    The hurried ones ask often enough for leases: with counted budgets, with a rate, and with a
    balance that runs out again and again, before the leases do where a request needs much at once.
    """
    await arena.open_payer("poor", 150, {"ping": 1})
    await arena.open_payer("steady", 1_500, {"ping": 1})
    await arena.open_payer("rich", 1_000_000, ALL_KINDS)
    await arena.open_payer("varied", 100_000, ALL_KINDS)
    await arena.open_payer("narrow", 100_000, {"ping": 2, "chat": 1, "stream": 1}, plan="narrow")
    await arena.open_payer("paced", 100_000, ALL_KINDS, plan="pro")
    await arena.open_payer("busy", 1_000_000, {"ping": 3, "chat": 1}, plan="wide", hurried=4)
    await arena.open_payer("brisk", 300, {"ping": 9, "run": 1}, hurried=4)
    await arena.open_payer("rated", 1_000_000, {"inline": 1}, plan="rated", hurried=2)
    return await arena.open_payer("probe", 1_000_000, {"ping": 1})


@asynccontextmanager
async def traffic(arena: Arena, seed: int, each: int = 2) -> AsyncIterator[None]:
    """Every payer but the probe sends requests, ``each`` at a time, or as many as are hurried."""
    stop = asyncio.Event()
    paying = asyncio.create_task(_pay_in(arena, stop))
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
        for number in range(payer.hurried or each)
    ]
    try:
        yield
        for client in clients:
            assert not client.done(), f"traffic ended early: {client}"
    finally:
        stop.set()
        await asyncio.wait((*clients, paying))
        paying.result()


async def _pay_in(arena: Arena, stop: asyncio.Event) -> None:
    """Two pay a little again and again, whenever Postgres takes it."""
    payers = {payer.customer.name: payer for payer in arena.payers.values()}
    for number in itertools.count(1):
        await asyncio.sleep(TOP_UP_PAUSE_S)
        if stop.is_set():
            return
        for name, paid_credits, every in TOP_UPS:
            if number % every == 0:
                await arena.top_up(payers[name], paid_credits)


async def recover(arena: Arena, probe: Payer) -> Recovery:
    """Wait until a request is answered, and until one of those answered since is settled.

    One after the other is sent: an entry on its way to a sink that was killed is in the log file
    only, and that is no reason to call the sink dead.
    """
    began_s = time.monotonic()
    answered: list[str] = []
    answered_s = 0.0
    async with asyncio.timeout(RECOVERY_TIMEOUT_S), new_client(arena.stack.gateway_url) as client:
        while not await _is_settled(arena, answered):
            answer = await ask(client, probe, "ping")
            arena.answers.append(answer)
            if answer.status == httpx.codes.OK:
                answered_s = answered_s or time.monotonic() - began_s
                answered.append(answer.request_id)
            await asyncio.sleep(PROBE_PAUSE_S)
    return Recovery(answered_s, time.monotonic() - began_s)


async def _is_settled(arena: Arena, request_ids: list[str]) -> bool:
    if not request_ids:
        return False
    try:
        connection = await asyncpg.connect(arena.dsn, timeout=2.0)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    try:
        found = await connection.fetchval(
            "SELECT count(*) FROM usage_events WHERE reservation_id = ANY ($1)", request_ids
        )
    except (OSError, asyncpg.PostgresError):
        return False
    finally:
        connection.terminate()
    return bool(found)


async def take(arena: Arena, probe: Payer, step: Step, report: Report) -> str:
    """One step, with leases under way: break, recover, note what clients heard meanwhile; says how
    it went."""
    if not await _leases_open(arena):
        report.differences.append(f"{step}: no lease was opened within {LEASES_OPEN_S} s")
    heard_before = len(arena.answers)
    dice = random.Random(f"{report.seed}/{step.number}")
    breaking = (FAULTS[name](arena, random.Random(dice.random())) for name in step.faults)
    await asyncio.gather(*breaking)
    report.tried.update(step.faults)
    try:
        recovery = await recover(arena, probe)
    except TimeoutError:
        report.differences.append(f"{step}: not recovered after {RECOVERY_TIMEOUT_S} s")
        return "not recovered"
    name = " + ".join(step.faults)
    report.recoveries[name].append(recovery)
    report.heard[name].update(_told(answer) for answer in arena.answers[heard_before:])
    await asyncio.sleep(step.pause_s)
    return f"answered {recovery.answered_s:5.2f} s, settled {recovery.settled_s:5.2f} s"


async def _leases_open(arena: Arena) -> bool:
    """Wait until a worker has a lease; false when none came."""
    until_s = time.monotonic() + LEASES_OPEN_S
    while not arena.leases.under_way:
        if time.monotonic() > until_s:
            return False
        await asyncio.sleep(PROBE_PAUSE_S)
    return True


async def run_campaign(
    arena: Arena,
    seed: int,
    steps: Iterable[Step] | None,
    for_s: float,
    tell: Callable[[str], None] = print,
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
            at_s = time.monotonic() - began_s
            outcome = await take(arena, probe, step, report)
            tell(f"{at_s:6.1f} s  {step.number:3}  {' + '.join(step.faults):40} {outcome}")
        arena.stack.middleman.mischief = "none"
    report.seconds = time.monotonic() - began_s
    report.books, found = await judge(arena)
    report.leases = Counter(arena.leases.seen)
    report.differences += [*found, *unused_leases(report.leases, report.seconds)]
    report.answers = Counter(_told(a) for a in arena.answers)
    unexpected = {a.status for a in arena.answers} - EXPECTED_STATUSES
    if unexpected:
        report.differences.append(f"answers that no client should see: {unexpected}")
    return report


def _told(answer: Answer) -> str:
    return f"{answer.status} {answer.code}".strip()
