"""The way to one server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ratelimit.algorithms import Group, Reading
from ratelimit.errors import StoreUnavailable
from ratelimit.limits import Limit
from ratelimit.settings_values import LaneSettings
from ratelimit.stores.lane import Answer, Lane, Server
from ratelimit.stores.memory import MemoryStore
from ratelimit.units import Unit
from tests.unit.ratelimit.building import T0_US

LIMIT = Limit(1_000_000, Unit.DAY)
GROUP = Group([LIMIT.draw("k", 1, T0_US)])


class Remote:
    """A server over memory that can be slow, away or wrong."""

    def __init__(self, settings: LaneSettings) -> None:
        self.store = MemoryStore(10)
        self.batches: list[int] = []
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None
        self.probes = 0
        self.lane = Lane(Server("remote", self._call, self._probe), settings)

    async def _call(self, groups: Sequence[Group]) -> Sequence[Answer]:
        self.batches.append(len(groups))
        if self.fault:
            raise self.fault
        await self.open.wait()
        return [self.store.draw_now(group) for group in groups]

    async def _probe(self) -> None:
        self.probes += 1
        if self.fault:
            raise self.fault
        await self.open.wait()


PATIENT = LaneSettings(deadline_ms=60_000, batch_requests_max=8, waiting_requests_max=20)
HASTY = LaneSettings(
    deadline_ms=1, breaker_faults=2, breaker_probe_interval_ms=1, probe_deadline_ms=1
)


async def asked(lane: Lane, count: int) -> list[asyncio.Task[Sequence[Reading]]]:
    """So many requests, on their way."""
    tasks = [asyncio.create_task(lane.draw(GROUP)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def reasons(tasks: Sequence[asyncio.Task[Sequence[Reading]]]) -> set[str]:
    """Why requests got no answer."""
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    return {error.reason for error in errors if isinstance(error, StoreUnavailable)}


async def test_what_waits_together_goes_together() -> None:
    """While one call is under way others wait, and share the next calls up to their bound."""
    remote = Remote(PATIENT)
    remote.open.clear()
    first = await asked(remote.lane, 1)
    later = await asked(remote.lane, 19)
    remote.open.set()
    readings = await asyncio.gather(*first, *later)
    assert remote.batches == [1, 8, 8, 3]
    assert sorted(answer[0].after for answer in readings) == list(range(1, 21))
    assert (remote.lane.counts.calls, remote.lane.counts.requests) == (4, 20)


async def test_waiting_has_a_bound() -> None:
    """Above it a request is turned away at once, and counted."""
    remote = Remote(PATIENT)
    remote.open.clear()
    under_way = await asked(remote.lane, 1)
    waiting = await asked(remote.lane, 20)
    assert await reasons(await asked(remote.lane, 3)) == {"too_many_waiting"}
    assert remote.lane.counts.turned_away == 3
    remote.open.set()
    assert len(await asyncio.gather(*under_way, *waiting)) == 21


async def test_a_deadline_fails_whoever_waits() -> None:
    """The call that is late and all that wait behind it are given up together."""
    remote = Remote(HASTY)
    remote.open.clear()
    tasks = await asked(remote.lane, 5)
    assert await reasons(tasks) == {"deadline"}
    assert remote.lane.counts.faults == {"deadline": 1}
    await remote.lane.close()


async def test_the_breaker_opens_and_a_probe_closes_it() -> None:
    """After repeated faults nothing is sent until a probe is answered; then everything is."""
    remote = Remote(HASTY)
    remote.fault = StoreUnavailable("connection")
    for _ in range(2):
        assert await reasons(await asked(remote.lane, 1)) == {"connection"}
    calls = len(remote.batches)
    assert await reasons(await asked(remote.lane, 50)) == {"breaker_open"}
    assert len(remote.batches) == calls
    assert remote.lane.state() == "breaker_open"
    remote.fault = None
    async with asyncio.timeout(10):
        while remote.lane.breaker.is_open:
            await asyncio.sleep(0.001)
    assert (await remote.lane.draw(GROUP))[0].after == 1
    assert remote.lane.state() == "ok"
    await remote.lane.close()


async def test_a_lane_survives_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nobody foresaw fails that batch, is logged, and the next one goes through."""
    remote = Remote(PATIENT)
    remote.fault = ZeroDivisionError("oops")
    assert await reasons(await asked(remote.lane, 3)) == {"closed"}
    assert "oops" in caplog.text
    remote.fault = None
    assert (await remote.lane.draw(GROUP))[0].after == 1


async def test_who_gives_up_waiting_disturbs_nobody() -> None:
    """A cancelled request leaves the others of its batch answered."""
    remote = Remote(PATIENT)
    remote.open.clear()
    tasks = await asked(remote.lane, 3)
    tasks[1].cancel()
    remote.open.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert all(isinstance(answer, list) for answer in (answers[0], answers[2]))


async def test_closing_fails_whoever_waits() -> None:
    """Nobody is left waiting for ever, and no task stays behind."""
    remote = Remote(PATIENT)
    remote.open.clear()
    tasks = await asked(remote.lane, 12)
    await remote.lane.close()
    assert await reasons(tasks) == {"closed"}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_server_that_is_away_at_first() -> None:
    """Warming up does not fail; it counts as a fault."""
    remote = Remote(HASTY)
    remote.fault = StoreUnavailable("connection")
    await remote.lane.warm_up()
    assert remote.lane.counts.faults == {"connection": 1}
    assert remote.probes == 1
