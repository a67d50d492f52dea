"""A real Envoy and the sink that is drained and started anew under traffic: no entry is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from accesslog.assembly import open_spool
from accesslog.intake import Intake
from accesslog.records import decode
from accesslog.server import AccessLogServer
from accesslog.settings import AccessLogSettings, ServerSettings, SpoolSettings
from accesslog.spool import Spool
from devstack import Envoy, free_port
from devstack.upstream.app import Upstream
from devstack.upstream.wire import Connection
from tests.contract.envoy_services import Services, until
from tests.unit.accesslog.door import open_door
from tollkeeper.config import load_config
from tollkeeper.envoy_render import bootstrap_text
from tollkeeper.settings import load_settings

EXAMPLE = Path(__file__).parents[2] / "tollkeeper.yaml"
CLIENTS = 8


@dataclass
class Sink:
    """One sink after another on the same port, all over one spool."""

    spool: Spool
    intake: Intake
    port: int
    settings: ServerSettings
    running: AccessLogServer | None = None

    async def start(self) -> None:
        metrics, notices = self.intake._metrics, self.intake._notices
        self.running = AccessLogServer(self.intake, self.settings, metrics, notices)
        await self.running.start(f"127.0.0.1:{self.port}")

    async def drain(self) -> None:
        assert self.running is not None
        await self.running.drain(5.0)

    def request_ids(self) -> list[str]:
        """The ids of all entries that the spool holds; they leave it by this."""
        found = []
        while taken := self.spool.take(1 << 20):
            for record in taken:
                entries = decode(record.payload)
                assert isinstance(entries, list)
                found += [entry.request_id for entry in entries]
            self.spool.acknowledge(taken[-1].end)
        return found


@asynccontextmanager
async def sink_on(port: int, path: Path, spool: SpoolSettings) -> AsyncIterator[Sink]:
    server = ServerSettings(health_interval_s=0.02)
    door = await open_door(AccessLogSettings(spool=spool, server=server))
    opened = open_spool(path, door.desk)
    intake = Intake(
        opened,
        usage_headers={},
        chunk_entries=100,
        when_full="hold",
        metrics=door.desk.around.metrics,
        notices=door.desk.notices,
    )
    sink = Sink(opened, intake, port, server)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.drain()
        opened.close()


@asynccontextmanager
async def gateway(folder: Path, sink_port: int) -> AsyncIterator[httpx.AsyncClient]:
    """The rendered example before the example upstream; every request gets a ticket."""
    services_port, gateway_port, admin_port = free_port(), free_port(), free_port()
    upstream = Upstream()
    serving = await asyncio.get_running_loop().create_server(
        lambda: Connection(upstream), "127.0.0.1", 0
    )
    settings = load_settings(
        gateway_listen=f"127.0.0.1:{gateway_port}",
        envoy_admin_listen=f"127.0.0.1:{admin_port}",
        authz_listen=f"127.0.0.1:{services_port}",
        ratelimit_listen=f"127.0.0.1:{services_port}",
        accesslog_listen=f"127.0.0.1:{sink_port}",
        upstream_urls={"example": f"http://127.0.0.1:{serving.sockets[0].getsockname()[1]}"},
        envoy_access_log_file=folder / "access.log",
    )
    bootstrap = folder / "envoy.yaml"
    bootstrap.write_text(bootstrap_text(load_config(EXAMPLE, settings), settings))
    async with (
        Services(services_port),
        Envoy(folder, bootstrap, admin_port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway_port}", timeout=20) as client,
    ):
        yield client
    serving.close()


async def traffic(client: httpx.AsyncClient, stop: asyncio.Event) -> int:
    """Requests one after another until told to stop; how many were answered."""
    answered = 0
    while not stop.is_set():
        response = await client.get("/flat/ping")
        assert response.status_code == 200
        answered += 1
    return answered


async def test_a_rolling_restart_loses_no_entry(tmp_path: Path) -> None:
    """Drained and started anew twice under traffic, the sink has every entry exactly once."""
    port, stop = free_port(), asyncio.Event()
    async with (
        sink_on(port, tmp_path / "spool", SpoolSettings()) as sink,
        gateway(tmp_path, port) as client,
    ):
        clients = [asyncio.create_task(traffic(client, stop)) for _ in range(CLIENTS)]
        for _ in range(2):
            await asyncio.sleep(0.7)
            await sink.drain()
            await asyncio.sleep(0.4)
            await sink.start()
        await asyncio.sleep(0.7)
        stop.set()
        answered = sum(await asyncio.gather(*clients))
        found: list[str] = []

        def all_there() -> bool:
            found.extend(sink.request_ids())
            return len(found) >= answered

        await until(all_there)
    assert len(set(found)) == len(found) == answered > 100


async def test_a_full_spool_makes_envoy_keep_its_entries(tmp_path: Path) -> None:
    """While the spool takes nothing requests go on, and with room every entry arrives."""
    port, stop = free_port(), asyncio.Event()
    small = SpoolSettings(max_bytes=32_768, segment_bytes=8_192, window_bytes=8_192)
    async with (
        sink_on(port, tmp_path / "spool", small) as sink,
        gateway(tmp_path, port) as client,
    ):
        assert sink.running is not None
        watching = asyncio.create_task(sink.running.watch())
        clients = [asyncio.create_task(traffic(client, stop)) for _ in range(CLIENTS)]
        await until(lambda: sink.intake.is_stalled)
        await asyncio.sleep(1.0)
        assert sink.intake.is_stalled
        stop.set()
        answered = sum(await asyncio.gather(*clients))
        found: list[str] = []

        def all_there() -> bool:
            found.extend(sink.request_ids())
            return len(found) >= answered

        await until(all_there)
        watching.cancel()
        await asyncio.wait([watching])
    assert len(set(found)) == len(found) == answered
