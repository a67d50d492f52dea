"""The doctor over real Postgres, Redis and Envoy: well, and broken in one way after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from devstack import Envoy, Postgres, Redis, free_port
from devstack.resp import ask
from tests.certificates import DNS_NAME, Authority
from tests.contract.desks import ANNA, Office, open_office
from tests.contract.paid_work import PaidWork
from tests.databases import EMPTY, fresh_database
from tollkeeper import doctor, doctor_envoy
from tollkeeper.addresses import Address
from tollkeeper.config import load_config
from tollkeeper.doctor import Examination, Finding, Patient
from tollkeeper.envoy_render import bootstrap_text
from tollkeeper.operations.catalog import apply_catalog
from tollkeeper.pages import pages, serve_http
from tollkeeper.settings import Settings, load_settings
from tollkeeper.tls_files import ListenerTls

CONFIG = Path(__file__).parents[2] / "tollkeeper.yaml"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def envoy_settings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """Settings of a running Envoy with the example's bootstrap."""
    folder = tmp_path_factory.mktemp("envoy")
    settings = load_settings(
        config_file=CONFIG,
        home=folder,
        envoy_admin_listen=f"127.0.0.1:{free_port()}",
        gateway_listen=f"127.0.0.1:{free_port()}",
        ticket_secret="s" * 32,
    )
    bootstrap = folder / "envoy.yaml"
    bootstrap.write_text(bootstrap_text(load_config(CONFIG, settings), settings))
    assert settings.envoy_admin_listen is not None
    async with Envoy(folder, bootstrap, settings.envoy_admin_listen.port):
        yield settings


@pytest.fixture
async def office(lasting_database: str) -> AsyncIterator[Office]:
    """A desk over the test's own database, to which the example's catalog was applied."""
    async with open_office(lasting_database) as opened:
        async with opened.desk.act(ANNA, "apply") as act:
            await apply_catalog(act, load_config(CONFIG, load_settings()))
        yield opened


@pytest.fixture
def patient(
    envoy_settings: Settings, office: Office, lasting_database: str, redis_url: str
) -> Patient:
    """A patient whose parts are all well."""
    settings = load_settings(
        **{
            **envoy_settings.model_dump(exclude_none=True, exclude={"ticket_secret"}),
            "ticket_secret": "s" * 32,
            "postgres_dsn": lasting_database,
            "redis_url": redis_url,
        }
    )
    return Patient(settings, f"http://{settings.envoy_admin_listen}", ())


async def test_all_is_well(patient: Patient) -> None:
    """With every part as it should be, nothing is wrong; remarks say what could be better."""
    async with _role("") as url:
        findings = await doctor.examine(
            replace(patient, ready_urls=[url]),
            (
                doctor.examine_configuration,
                doctor.examine_postgres,
                doctor.examine_books,
                doctor.examine_prices,
                doctor.examine_redis,
                doctor_envoy.examine_envoy,
                doctor_envoy.examine_roles,
            ),
        )
    assert [finding for finding in findings if finding.verdict == "bad"] == []
    assert {finding.part for finding in findings if finding.verdict == "ok"} == {
        *("configuration", "postgres", "prices", "redis", "envoy", "roles"),
    }
    assert all(finding.remedy for finding in findings if finding.verdict == "warn")


async def test_absent_postgres(patient: Patient) -> None:
    """A Postgres that does not answer is one finding, with the variable to set."""
    away = _with(patient, postgres_dsn=f"postgresql://p@127.0.0.1:{free_port()}/d")
    found = await _bad(away, doctor.examine_postgres)
    assert "does not answer" in found.seen
    assert "TOLLKEEPER_POSTGRES_DSN" in found.remedy


async def test_unmigrated_postgres(patient: Patient, lasting: Postgres) -> None:
    """Missing migrations are counted, and the command that applies them is named."""
    async with fresh_database(lasting, EMPTY) as dsn:
        found = await _bad(_with(patient, postgres_dsn=dsn), doctor.examine_postgres)
    assert "first 0001_accounts.sql" in found.seen
    assert found.remedy == "run `tollkeeper migrate`"


async def test_postgres_that_forgets(
    patient: Patient, postgres_server: Postgres, template_database: str
) -> None:
    """Without fsync a crash of the machine would lose money, and the setting is named."""
    careless = _with(patient, postgres_dsn=postgres_server.dsn(template_database))
    found = await _bad(careless, doctor.examine_postgres)
    assert "fsync is off" in found.seen
    assert "fsync = on" in found.remedy


async def test_absent_redis(patient: Patient) -> None:
    """A Redis that does not answer is one finding."""
    away = _with(patient, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    found = await _bad(away, doctor.examine_redis)
    assert "TOLLKEEPER_REDIS_URL" in found.remedy


async def test_redis_that_would_evict(patient: Patient, redis_server: Redis) -> None:
    """A bound of memory with a policy that throws keys away would lose balances."""
    await ask(redis_server.port, "CONFIG", "SET", "maxmemory", "100mb")
    await ask(redis_server.port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = await _bad(patient, doctor.examine_redis)
    finally:
        await ask(redis_server.port, "CONFIG", "SET", "maxmemory", "0")
        await ask(redis_server.port, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert "allkeys-lru: it would evict balances" in found.seen
    assert "noeviction" in found.remedy


async def test_envoy_with_another_configuration(patient: Patient, tmp_path: Path) -> None:
    """A file that says something else than what Envoy runs is found, with the place."""
    other = tmp_path / "tollkeeper.yaml"
    other.write_text(CONFIG.read_text().replace("/flat/ping", "/flat/pong"))
    found = await _bad(_with(patient, config_file=other), doctor_envoy.examine_envoy)
    assert "another configuration, first at bootstrap.static_resources.listeners" in found.seen
    assert "envoy render" in found.remedy


async def test_absent_envoy(patient: Patient) -> None:
    """An admin interface that does not answer is one finding."""
    away = replace(patient, envoy_admin_url=f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in (await _bad(away, doctor_envoy.examine_envoy)).seen


async def test_unready_role(patient: Patient) -> None:
    """What a role says of itself is passed on; one that does not answer is named by its address."""
    absent = f"http://127.0.0.1:{free_port()}/readyz"
    async with _role("Redis is away") as url:
        known = replace(patient, ready_urls=[url, absent])
        findings = await doctor.examine(known, (doctor_envoy.examine_roles,))
    assert [finding.verdict for finding in findings] == ["bad", "bad"]
    assert "Redis is away" in findings[0].seen
    assert absent in findings[1].seen


async def test_changed_prices(patient: Patient, tmp_path: Path) -> None:
    """A price version that was applied with other prices is never to be used."""
    other = tmp_path / "tollkeeper.yaml"
    text = CONFIG.read_text()
    assert "usd_per_request: 0.001" in text
    other.write_text(text.replace("usd_per_request: 0.001", "usd_per_request: 0.002"))
    found = await _bad(_with(patient, config_file=other), doctor.examine_prices)
    assert "other prices" in found.seen


async def test_unapplied_prices(patient: Patient, office: Office) -> None:
    """Prices that the database does not know are named with the command that applies them."""
    async with office.desk.access.writing("test") as connection:
        await connection.execute("DELETE FROM price_versions")
        await connection.execute("DELETE FROM plans")
    findings = await doctor.examine(patient, (doctor.examine_prices,))
    assert [finding.verdict for finding in findings] == ["bad", "warn", "bad"]
    assert "catalog apply" in findings[0].remedy


async def test_waiting_books(patient: Patient, office: Office) -> None:
    """Reservations that nobody expires are counted, and the role that would is named."""
    account = await office.account(paid_nanos=1000)
    work = PaidWork(office)
    await work.admit(work.request(account, 0))
    await work.settle(work.request(account, 1))
    async with office.desk.access.writing("test") as connection:
        await connection.execute("UPDATE reservations SET expires_at = '2020-01-01'")
        await connection.execute("UPDATE unpublished SET created_at = '2020-01-01'")
    findings = await doctor.examine(patient, (doctor.examine_books,))
    assert [(f.verdict, f.seen) for f in findings] == [
        ("bad", "2 batches that Redis was never told of"),
        ("bad", "1 reservations past their end and still pending"),
        ("warn", "never checked"),
    ]
    assert all("serve accesslog" in finding.remedy for finding in findings[:2])


async def test_missing_ticket_secret(patient: Patient) -> None:
    """Without a secret no ticket can be signed."""
    bare = replace(patient, settings=patient.settings.model_copy(update={"ticket_secret": None}))
    assert "TOLLKEEPER_TICKET_SECRET" in (await _bad(bare, doctor.examine_configuration)).remedy


async def test_role_with_tls(patient: Patient, tmp_path: Path) -> None:
    """Without its authority a page over TLS is no page, and the variable is named; with the files
    of the settings it is read like any other."""
    authority = Authority(tmp_path)
    pair, own = authority.issue("role"), authority.issue("doctor")
    tls = ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=authority.ca)
    where = Address("127.0.0.1", free_port())
    probe = {"ca": authority.ca, **own._asdict(), "server_name": DNS_NAME}
    ready = [f"https://{where}/readyz"]
    asking = replace(_with(patient, probe_tls=probe), ready_urls=ready)
    serving = asyncio.create_task(serve_http(pages(CollectorRegistry(), {}), where, tls))
    try:
        async with asyncio.timeout(10):
            while not await _listens(where):
                await asyncio.sleep(0.02)
        found = await _bad(replace(patient, ready_urls=ready), doctor_envoy.examine_roles)
        assert "TOLLKEEPER_PROBE_TLS" in found.remedy
        misnamed = {**probe, "server_name": "other.internal"}
        other = replace(_with(patient, probe_tls=misnamed), ready_urls=ready)
        assert "other.internal" in (await _bad(other, doctor_envoy.examine_roles)).seen
        (found,) = await doctor.examine(asking, (doctor_envoy.examine_roles,))
        assert (found.verdict, found.seen) == ("ok", f"{ready[0]}: ready")
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def _bad(patient: Patient, examination: Examination) -> Finding:
    """The one finding of an examination that something is wrong."""
    findings = await doctor.examine(patient, (examination,))
    (found,) = [finding for finding in findings if finding.verdict == "bad"]
    return found


def _with(patient: Patient, **changes: object) -> Patient:
    known = patient.settings.model_dump(exclude_none=True, exclude={"ticket_secret"})
    settings = load_settings(**{**known, "ticket_secret": "s" * 32, **changes})
    return replace(patient, settings=settings)


async def _listens(where: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(where.host, where.port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def _role(wrong: str) -> AsyncIterator[str]:
    """The health page of a role that says this of itself."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = "503 Service Unavailable" if wrong else "200 OK"
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(wrong)}\r\nconnection: close\r\n\r\n"
        writer.write((head + wrong).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/readyz"
