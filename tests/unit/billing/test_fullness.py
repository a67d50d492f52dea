"""A full spool reaches the front door, and is over again when nobody says so any more."""

import asyncio
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from billing.catalog import Route, SpoolPosture
from billing.errors import StoreUnavailable
from billing.fullness import INTERVAL_S, NO_ROOM, SAID_S, Fullness, FullnessTeller


class Signal:
    """Words with an end, over a clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.words: dict[str, tuple[bool, float]] = {}
        self.away = False

    async def say(self, settler: str, *, full: bool, for_s: float) -> None:
        self._answer()
        self.words[settler] = full, self.now_s + for_s

    async def is_full(self) -> bool:
        self._answer()
        held = [full for full, ends_s in self.words.values() if self.now_s < ends_s]
        return bool(held) and all(held)

    def _answer(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Worker:
    """What one worker hears of a signal, and what it reports."""

    def __init__(self, signal: Signal) -> None:
        self.told: list[str] = []
        self.registry = CollectorRegistry()
        self.fullness = Fullness(signal, lambda: signal.now_s, self.told.append, self.registry)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def route(name: str, posture: SpoolPosture) -> Route:
    return Route(name, "up", "llm", "flat", "ping", spool_posture=posture)


async def test_a_closed_route_refuses_and_an_open_one_is_marked() -> None:
    """While a spool is full; what went on is counted by route, and told with its times."""
    signal = Signal()
    worker = Worker(signal)
    await signal.say("one", full=True, for_s=SAID_S)
    await worker.fullness.look()
    assert worker.count("tollkeeper_spool_full") == 1
    assert worker.fullness.judge(route("chat", "closed")) is NO_ROOM
    assert worker.fullness.judge(route("ping", "open")) is None
    assert worker.fullness.judge(route("ping", "open")) is None
    name = "tollkeeper_spool_full_requests_total"
    assert worker.count(name, route="chat", posture="closed") == 1
    assert worker.count(name, route="ping", posture="open") == 2
    signal.now_s += SAID_S
    await worker.fullness.look()
    assert not worker.fullness.is_full
    assert "2 requests went on from Unix second 1000 to 1005" in worker.told[-1]
    assert len(worker.told) == 2


async def test_a_redis_that_is_away_changes_nothing() -> None:
    """What was heard last holds on both sides, and the settler's word is said when it is back."""
    signal = Signal()
    worker, told = Worker(signal), list[tuple[str, str]]()
    teller = FullnessTeller(
        signal, "one", lambda: True, lambda kind, text: told.append((kind, text))
    )
    signal.away = True
    await teller.tell()
    await worker.fullness.look()
    assert worker.count("tollkeeper_spool_full") == 0
    assert told == [("spool_full_untold", "away")]
    signal.away = False
    await teller.tell()
    await worker.fullness.look()
    signal.away = True
    await worker.fullness.look()
    assert worker.count("tollkeeper_spool_full") == 1


async def test_one_with_room_is_enough() -> None:
    """A settler's last word counts; closed routes refuse only when nobody takes entries."""
    signal, full = Signal(), {"one": True, "two": False}
    tellers = [
        FullnessTeller(signal, name, partial(full.__getitem__, name), lambda *_: None)
        for name in full
    ]

    async def heard() -> bool:
        for teller in tellers:
            await teller.tell()
        return await signal.is_full()

    assert not await heard()
    full["two"] = True
    assert await heard()
    full["one"] = False
    assert not await heard()
    signal.now_s += SAID_S
    assert not await signal.is_full(), "a settler that died does not speak for ever"


async def test_room_that_cannot_be_said_is_no_news() -> None:
    """Redis being away is told by others; only fullness must not go unheard."""
    signal, told = Signal(), list[str]()
    teller = FullnessTeller(signal, "one", lambda: False, lambda kind, _text: told.append(kind))
    signal.away = True
    await teller.tell()
    assert told == []


async def test_both_look_every_second() -> None:
    """The settler says it more often than it ends; a worker hears of it within a second."""
    signal = Signal()
    worker = Worker(signal)
    teller = FullnessTeller(signal, "one", lambda: True, lambda *_: None)
    slept_s: list[float] = []

    async def sleep(seconds: float) -> None:
        slept_s.append(seconds)
        if len(slept_s) == 4:
            raise asyncio.CancelledError

    for run in (teller.run(sleep), worker.fullness.run(sleep)):
        slept_s[:] = slept_s[:2]
        with pytest.raises(asyncio.CancelledError):
            await run
    assert set(slept_s) == {INTERVAL_S}
    assert INTERVAL_S * 3 < SAID_S
    assert worker.fullness.is_full
