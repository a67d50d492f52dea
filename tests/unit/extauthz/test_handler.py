"""The handler: bytes to bytes, faults caught once, checks counted and bounded."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from billing.catalog import Posture
from billing.reservations import Admission, Hold, JournalRow
from envoyapi.auth_v3_pb2 import CheckResponse
from extauthz.handler import QUIET_S, CheckFailed
from extauthz.limits import CheckLimits
from tests.unit.extauthz.front_door import (
    ROUTES,
    FrontDoor,
    HotReserver,
    Unleased,
    envoy_check,
    make_catalog,
    make_front_door,
    make_key,
)


class Broken(Unleased):
    """A reserver with a fault of its own."""

    async def reserve(self, hold: Hold, row: JournalRow, posture: str) -> Admission:
        raise ZeroDivisionError(f"{hold.account_id} {row.route} {posture}")


def broken_door() -> tuple[FrontDoor, bytes]:
    door = make_front_door()
    wire = envoy_check("ping", door.customer())
    door.door.reserver = Broken()
    return door, wire


async def test_a_fault_of_ours_makes_envoy_apply_its_failure_mode() -> None:
    """Any unexpected exception ends as UNAVAILABLE, is counted, and leaves nothing in flight."""
    door, wire = broken_door()
    with pytest.raises(CheckFailed) as failed:
        await door.handler.check(wire)
    assert failed.value.code == "UNAVAILABLE"
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert door.counts.faults == {"fault": 1}
    assert door.counts.in_flight == 0


async def test_faults_are_logged_without_drowning_anyone(caplog: pytest.LogCaptureFixture) -> None:
    """The first is logged with its traceback, then one in a while; never the key."""
    door, wire = broken_door()
    key = make_key(1)
    with caplog.at_level(logging.ERROR, logger="extauthz.handler"):
        for _ in range(5):
            with pytest.raises(CheckFailed):
                await door.handler.check(wire)
        assert len(caplog.records) == 1
        door.clock.forward(QUIET_S)
        with pytest.raises(CheckFailed):
            await door.handler.check(wire)
    assert len(caplog.records) == 2
    assert "ZeroDivisionError" in caplog.text
    assert key not in caplog.text
    about = vars(caplog.records[0])
    assert about["request_id"]
    assert about["route"] == "ping"
    assert about["account"] in caplog.text


async def test_bytes_that_are_no_check_are_the_callers_fault() -> None:
    """INVALID_ARGUMENT, counted, and not logged as ours."""
    door = make_front_door()
    with pytest.raises(CheckFailed) as failed:
        await door.handler.check(b"\xff\xff\xff")
    assert failed.value.code == "INVALID_ARGUMENT"
    assert door.counts.faults == {"not_a_check": 1}


class Waiting(Unleased):
    """A reserver that lets go when the test says."""

    def __init__(self, inner: HotReserver) -> None:
        self.inner = inner
        self.gate = asyncio.Event()

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
        await self.gate.wait()
        return await self.inner.reserve(hold, row, posture)


async def test_only_so_many_checks_are_under_way() -> None:
    """One more is answered at once with UNAVAILABLE; when one ends there is room again."""
    door = make_front_door(check_limits=CheckLimits(max_in_flight=2))
    door.door.reserver = waiting = Waiting(door.reserver)
    wire = envoy_check("ping", door.customer())
    under_way = [asyncio.create_task(door.handler.check(wire)) for _ in range(2)]
    await asyncio.sleep(0)
    assert door.counts.in_flight == 2
    with pytest.raises(CheckFailed) as failed:
        await door.handler.check(wire)
    assert failed.value.code == "UNAVAILABLE"
    assert door.counts.faults == {"overloaded": 1}
    waiting.gate.set()
    for answer in await asyncio.gather(*under_way):
        assert CheckResponse.FromString(answer).HasField("ok_response")
    assert (await door.check(wire)).HasField("ok_response")


async def test_a_check_whose_client_left_is_no_fault() -> None:
    """Cancellation passes through, uncounted, and frees its place."""
    door = make_front_door()
    door.door.reserver = Waiting(door.reserver)
    task = asyncio.create_task(door.handler.check(envoy_check("ping", door.customer())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (door.counts.in_flight, dict(door.counts.faults)) == (0, {})


async def test_decisions_are_counted_by_route_and_code_with_their_time() -> None:
    """Allowed and refused checks stand beside each other; each falls into one bucket."""
    door = make_front_door()
    key = door.customer()
    for wire in (envoy_check("ping", key), envoy_check("ping"), envoy_check("ping", key)):
        await door.check(wire)
    assert door.counts.decisions == {("ping", "allowed"): 2, ("ping", "missing_key"): 1}
    assert sum(door.counts.buckets) == 3


async def test_a_route_that_leaves_meanwhile_still_names_the_check() -> None:
    """A check is counted under the route by which it came, also when the catalog is replaced."""
    door = make_front_door()
    door.door.reserver = waiting = Waiting(door.reserver)
    task = asyncio.create_task(door.handler.check(envoy_check("ping", door.customer())))
    await asyncio.sleep(0)
    door.door.offer(make_catalog([replace(ROUTES[0], name="another")]))
    waiting.gate.set()
    assert CheckResponse.FromString(await task).HasField("ok_response")
    assert door.counts.decisions == {("ping", "allowed"): 1}
