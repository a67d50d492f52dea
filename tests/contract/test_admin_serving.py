"""The role `admin`: its listener, and the configuration that it brings into the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from prometheus_client import CollectorRegistry

from devstack import free_port
from tests.certificates import Authority
from tests.contract.api_clients import CONFIG
from tollkeeper.admin import serve_admin
from tollkeeper.asking_pages import page_client, trust_of
from tollkeeper.settings import Settings, load_settings
from tollkeeper.tls_files import ClientTls, ListenerTls

WAIT_S = 20.0


async def test_configuration_is_applied_and_followed(database: str, tmp_path: Path) -> None:
    """Plans of the file are in the database after the start, and a new one after its change."""
    settings = _settings(database, tmp_path)
    async with _serving(settings):
        await _until(lambda: _plans(database, "pro"))
        text = settings.config_file.read_text()
        settings.config_file.write_text(text.replace("plans:\n", "plans:\n  brand_new: {}\n", 1))
        await _until(lambda: _plans(database, "brand_new"))
        rows = await _fetch(database, "SELECT DISTINCT via FROM audit_log")
    assert [row["via"] for row in rows] == ["reload"]


async def test_changed_price_is_refused_and_the_old_one_stays(
    database: str, tmp_path: Path
) -> None:
    """A file that changes a price version in force is not applied; the API goes on."""
    settings = _settings(database, tmp_path)
    async with _serving(settings) as client:
        await _until(lambda: _plans(database, "pro"))
        before = await _fetch(database, "SELECT digest FROM price_versions")
        text = settings.config_file.read_text()
        assert "usd_per_request: 0.001" in text
        changed = text.replace("usd_per_request: 0.001", "usd_per_request: 0.002")
        settings.config_file.write_text(changed)
        await _until(lambda: _says(client, "tollkeeper_config_refused 1.0"))
        assert (await client.get("/readyz")).status_code == 200
    assert await _fetch(database, "SELECT digest FROM price_versions") == before


async def test_role_checks_the_ledger_by_itself(database: str, tmp_path: Path) -> None:
    """Soon after the start there is a verdict over the whole, and the metrics show it."""
    async with _serving(_settings(database, tmp_path)) as client:
        await _until(lambda: _checked(database))
        assert "tollkeeper_ledger_check_failures_total" in (await client.get("/metrics")).text
    (verdict,) = await _fetch(database, "SELECT whole, verdict, checked_by FROM ledger_verdicts")
    assert (verdict["whole"], verdict["verdict"]) == (True, "ledger check: ok")
    assert verdict["checked_by"].startswith("admin on ")


async def test_role_leaves_the_ledger_alone_when_told(database: str, tmp_path: Path) -> None:
    """With an interval of 0 checks are left to people; what stands is shown all the same."""
    settings = _settings(database, tmp_path).model_copy(update={"ledger_check_interval_s": 0})
    async with _serving(settings) as client:
        await _until(lambda: _plans(database, "pro"))
        await _until(lambda: _says(client, 'tollkeeper_reservations{state="pending"} 0.0'))
        await _until(lambda: _says(client, 'doctor_findings{part="postgres",verdict="ok"} 2.0'))
    assert not await _checked(database)


async def test_taken_address_is_told(database: str, tmp_path: Path) -> None:
    """A second API on the same address ends with the address that it could not have."""
    settings = _settings(database, tmp_path)
    async with _serving(settings):
        with pytest.raises(OSError, match=str(settings.admin_listen)):
            await serve_admin(settings, asyncio.Event(), CollectorRegistry())


async def test_over_tls_plaintext_is_refused(database: str, tmp_path: Path) -> None:
    """In clear, without a certificate, and by a client that believes another authority nothing is
    answered; a client with the right files reads health and documents."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    own = authority.issue("client")
    mine = ClientTls(ca=authority.ca, certificate=own.certificate, key=own.key)
    pair = authority.issue("admin")
    tls = ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=authority.ca)
    settings = _settings(database, tmp_path, admin_tls=tls)
    url = settings.page_url("admin", settings.admin_listen)
    assert url == f"https://{settings.admin_listen}"
    async with _serving(settings, mine) as client:
        assert (await client.get("/openapi.json")).status_code == 200
        for refused, where in (
            (None, f"http://{settings.admin_listen}"),
            (ClientTls(ca=authority.ca), url),
            (ClientTls(ca=stranger.ca, certificate=own.certificate, key=own.key), url),
        ):
            async with page_client(5.0, refused, trust_of(refused)) as other:
                with pytest.raises(httpx.TransportError):
                    await other.get(f"{where}/readyz")


@asynccontextmanager
async def _serving(
    settings: Settings, tls: ClientTls | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_admin(settings, stop, CollectorRegistry()))
    async with page_client(5.0, tls, trust_of(tls)) as client:
        client.base_url = settings.page_url("admin", settings.admin_listen)
        await _until(lambda: _ready(client))
        yield client
    stop.set()
    await serving


def _settings(database: str, tmp_path: Path, **more: object) -> Settings:
    config = tmp_path / "tollkeeper.yaml"
    config.write_text(CONFIG.read_text())
    return load_settings(
        config_file=config,
        home=tmp_path,
        postgres_dsn=database,
        admin_listen=f"127.0.0.1:{free_port()}",
        **more,
    )


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def _says(client: httpx.AsyncClient, line: str) -> bool:
    return line in (await client.get("/metrics")).text


async def _checked(database: str) -> bool:
    return bool(await _fetch(database, "SELECT FROM ledger_verdicts"))


async def _plans(database: str, name: str) -> bool:
    return name in {row["name"] for row in await _fetch(database, "SELECT name FROM plans")}


async def _fetch(database: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await holds():
            await asyncio.sleep(0.05)
