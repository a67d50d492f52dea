"""A full spool reaches the front door, and is over again when nobody says so any more."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from billing.catalog import Route, SpoolPosture
from billing.errors import StoreUnavailable
from billing.fullness import INTERVAL_S, NO_ROOM, SAID_S, Fullness, FullnessTeller


class Signal:
    """One word with an end, over a clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.ends_s = 0.0
        self.away = False

    async def say_full(self, for_s: float) -> None:
        self._answer()
        self.ends_s = self.now_s + for_s

    async def is_full(self) -> bool:
        self._answer()
        return self.now_s < self.ends_s

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
    await signal.say_full(SAID_S)
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
    teller = FullnessTeller(signal, lambda: True, lambda kind, text: told.append((kind, text)))
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


async def test_a_spool_with_room_says_nothing() -> None:
    """So the last word ends by itself, and a settler that dies does not speak for ever."""
    signal, full = Signal(), [True]
    teller = FullnessTeller(signal, lambda: full[0], lambda *_: None)
    await teller.tell()
    assert signal.ends_s == signal.now_s + SAID_S
    full[0] = False
    signal.now_s += INTERVAL_S
    await teller.tell()
    assert signal.ends_s == signal.now_s - INTERVAL_S + SAID_S


async def test_both_look_every_second() -> None:
    """The settler says it more often than it ends; a worker hears of it within a second."""
    signal = Signal()
    worker = Worker(signal)
    teller = FullnessTeller(signal, lambda: True, lambda *_: None)
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
