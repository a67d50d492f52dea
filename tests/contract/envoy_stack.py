"""A real Envoy over the rendered configuration, between a client and recorders of our services."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from accesslog.entry import read_message
from accesslog.logline import read_line
from accesslog.settings import JudgeSettings
from accesslog.values import Entry
from devstack import Envoy, free_port
from devstack.upstream.app import Upstream
from devstack.upstream.wire import Connection
from extauthz.facts import Facts
from extauthz.request import read_check
from tests.contract.envoy_services import Services, until
from tollkeeper.config import Config, load_config
from tollkeeper.envoy_render import bootstrap_text
from tollkeeper.settings import load_settings

EXAMPLE = Path(__file__).parents[2] / "tollkeeper.yaml"
USAGE_HEADERS = JudgeSettings().usage_headers

ROUTES = """routes:
  limited:
    match: {method: POST, path: /limited}
    upstream: example
    profile: llm
    meter: tokens
    tariff: chat
    rewrite: /v1/chat/completions
    token_limit: {}
  opened:
    match: {prefix: /open/}
    upstream: plain
    profile: llm
    meter: flat
    tariff: ping
    rewrite: /flat/
    failure: {authorization: open}
"""


@dataclass
class Stack:
    """A gateway with its upstream and recorders in the place of our services."""

    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    services: Services
    upstream: Upstream
    config: Config
    log: Path

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send JSON, or bytes as they are; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(path, content=content, headers=named)

    def facts(self) -> Facts:
        """The one check of the test, as authorization reads it."""
        (check,) = self.services.authorization.checks
        return read_check(check.SerializeToString())

    async def entries(self, how_many: int = 1) -> list[Entry]:
        """The test's entries that came by the stream, once there are so many."""
        await until(lambda: len(self.streamed()) >= how_many)
        return self.streamed()

    async def line(self, request_id: str) -> Entry | None:
        """The file's line of a request, as replay reads it; ``None`` for one without a ticket."""
        found = await self.logged(request_id)
        return read_line(found, USAGE_HEADERS)

    async def logged(self, text: str) -> bytes:
        """The first line of the file with a text; Envoy is told to write what it holds back."""
        async with asyncio.timeout(10):
            while not (found := self._lines_with(text)):
                (await self.admin.post("/reopen_logs")).raise_for_status()
                await asyncio.sleep(0.05)
        return found[0]

    def streamed(self) -> list[Entry]:
        """The test's entries that have come by the stream so far, as the sink reads them."""
        messages = self.services.access_log.messages
        parts = [p for message in messages for p in read_message(message, USAGE_HEADERS, 100)]
        checks = self.services.authorization.checks
        ours = {check.attributes.request.http.headers["x-request-id"] for check in checks}
        return [e for part in parts for e in part.entries if e.request_id in ours]

    def _lines_with(self, text: str) -> list[bytes]:
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        return [line for line in lines if text.encode() in line]


@asynccontextmanager
async def running_gateway(folder: Path) -> AsyncIterator[Stack]:
    """The example and two routes more, on free ports; everything ends with the context."""
    services_port, gateway_port, admin_port = free_port(), free_port(), free_port()
    upstream = Upstream()
    serving = await asyncio.get_running_loop().create_server(
        lambda: Connection(upstream), "127.0.0.1", 0
    )
    upstream_url = f"http://127.0.0.1:{serving.sockets[0].getsockname()[1]}"
    settings = load_settings(
        gateway_listen=f"127.0.0.1:{gateway_port}",
        envoy_admin_listen=f"127.0.0.1:{admin_port}",
        authz_listen=f"127.0.0.1:{services_port}",
        ratelimit_listen=f"127.0.0.1:{services_port}",
        accesslog_listen=f"127.0.0.1:{services_port}",
        upstream_urls={"example": upstream_url, "plain": upstream_url},
        envoy_access_log_file=folder / "access.log",
    )
    text = EXAMPLE.read_text().replace("routes:\n", ROUTES, 1)
    text = text.replace("upstreams:\n", "upstreams:\n  plain: {url: 'http://h'}\n", 1)
    text = text.replace("gateway:\n", "gateway:\n  stream_log_interval_s: 1\n", 1)
    (folder / "tollkeeper.yaml").write_text(text)
    config = load_config(folder / "tollkeeper.yaml", settings)
    bootstrap = folder / "envoy.yaml"
    bootstrap.write_text(bootstrap_text(config, settings))
    base, admin = f"http://127.0.0.1:{gateway_port}", f"http://127.0.0.1:{admin_port}"
    async with (
        Services(services_port) as services,
        Envoy(folder, bootstrap, admin_port),
        httpx.AsyncClient(base_url=base, timeout=20) as client,
        httpx.AsyncClient(base_url=admin) as admin_client,
    ):
        yield Stack(client, admin_client, services, upstream, config, folder / "access.log")
    serving.close()
