"""The back door as one thing, over stores in memory and a real port: serve, drain, die."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from accesslog.assembly import build_service, open_spool
from accesslog.settings import AccessLogSettings, ExpireSettings, PublishSettings, ServerSettings
from accesslog.settle import Settler
from envoyapi.accesslog_v3_pb2_grpc import AccessLogServiceStub
from tests.contract.test_accesslog_server import message
from tests.unit.accesslog.door import ANNA, FUNDS_NANOS, Door, open_door

SETTINGS = AccessLogSettings(
    server=ServerSettings(drain_notice_s=0.05, drain_idle_s=0.1),
    publish=PublishSettings(interval_s=0.02),
    expire=ExpireSettings(interval_s=0.02),
    drain_s=1.0,
)


async def _pause(_seconds: float) -> None:
    await asyncio.sleep(0.005)


async def a_door(settings: AccessLogSettings = SETTINGS) -> Door:
    return await open_door(settings, sleep=_pause)


async def send(port: int, *tickets: str) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = AccessLogServiceStub(channel).StreamAccessLogs()
        await stream.write(message(*tickets))
        await stream.done_writing()
        await stream


async def test_it_settles_expires_and_keeps_promises_until_it_is_stopped(tmp_path: Path) -> None:
    """One run does all of it: an entry settles, an overdue hold ends, an old promise is kept."""
    door = await a_door()
    settled, overdue, promised = [await door.admit() for _ in range(3)]
    await door.copy(ANNA)
    door.hot.away = True
    await door.settle(door.entry(promised, code=503))
    door.hot.away = False
    door.clock.forward(601)
    service = build_service(door.desk, open_spool(tmp_path, door.desk))
    stop = asyncio.Event()
    port = await service.start("127.0.0.1:0")
    serving = asyncio.create_task(service.serve(stop))
    await send(port, door.seal.sign(settled))
    async with asyncio.timeout(5):
        while door.state(overdue) == "pending" or await door.held():
            await asyncio.sleep(0.01)
    stop.set()
    await serving
    assert (door.state(overdue), door.state(promised)) == ("expired", "released")
    assert door.state(settled) in {"settled", "late"}  # expiry may come before its entry


async def test_a_drain_leaves_in_the_spool_what_cannot_be_settled(tmp_path: Path) -> None:
    """With the ledger away it ends within its deadline, and the next start settles the rest."""
    door = await a_door(replace(SETTINGS, drain_s=0.5))
    tickets = [await door.admit() for _ in range(5)]
    stop = asyncio.Event()
    service = build_service(door.desk, open_spool(tmp_path, door.desk))
    port = await service.start("127.0.0.1:0")
    serving = asyncio.create_task(service.serve(stop))
    door.ledger.away = True
    await send(port, *map(door.seal.sign, tickets))
    stop.set()
    async with asyncio.timeout(3):
        await serving
    assert door.posted_nanos() == FUNDS_NANOS
    assert any(text.startswith("drained: 1 records stay") for text in door.told)
    door.ledger.away = False

    again = replace(door.desk.around, metrics=(await a_door()).desk.around.metrics)
    desk = type(door.desk)(again, SETTINGS)
    stop = asyncio.Event()
    service = build_service(desk, open_spool(tmp_path, desk))
    await service.start("127.0.0.1:0")
    stop.set()
    await service.serve(stop)
    assert {door.state(ticket) for ticket in tickets} == {"settled"}


async def test_the_death_of_a_part_is_heard(tmp_path: Path) -> None:
    """A fault that nobody foresaw ends the service with that fault, and the spool keeps all."""
    door = await a_door()
    ticket = await door.admit()

    async def broken(settler: Settler, judged: object) -> None:
        raise RuntimeError(f"a bug met by {settler} and {judged}")

    spool = open_spool(tmp_path, door.desk)
    service = build_service(door.desk, spool)
    port = await service.start("127.0.0.1:0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settler, "settle", broken)
        serving = asyncio.create_task(service.serve(asyncio.Event()))
        await send(port, door.seal.sign(ticket))
        with pytest.raises(ExceptionGroup) as died:
            await serving
    assert isinstance(died.value.exceptions[0], RuntimeError)
    assert spool.records == 1
    with pytest.raises(grpc.aio.AioRpcError):
        await send(port, "after its end")
