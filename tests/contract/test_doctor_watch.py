"""The doctor's verdicts as metrics, over a real Postgres and Redis."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from billing.stores.postgres_verdicts import Verdict, keep_verdict
from devstack import free_port
from tests.certificates import Authority
from tests.contract.api_clients import CONFIG
from tests.contract.desks import ANNA, START, open_office
from tollkeeper.config import load_config
from tollkeeper.doctor import examine, examine_books
from tollkeeper.doctor_watch import PARTS, DoctorWatch, patient_of
from tollkeeper.operations.catalog import apply_catalog
from tollkeeper.settings import Settings, load_settings
from tollkeeper.tls_files import ListenerTls


@pytest.fixture
async def settings(lasting_database: str, redis_url: str, tmp_path: Path) -> Settings:
    """Those of a role whose Postgres and Redis are well and know the example's prices."""
    found = load_settings(
        config_file=CONFIG, home=tmp_path, postgres_dsn=lasting_database, redis_url=redis_url
    )
    async with open_office(lasting_database) as office, office.desk.act(ANNA, "test") as act:
        await apply_catalog(act, load_config(CONFIG, found))
    return found


async def _bad(settings: Settings) -> set[str]:
    """The parts with a bad finding, after one look."""
    registry = CollectorRegistry()
    await DoctorWatch(patient_of(settings), registry).look()
    labels = ({"part": part, "verdict": "bad"} for part in PARTS)
    values = {
        one["part"]: registry.get_sample_value("tollkeeper_doctor_findings", one) for one in labels
    }
    return {part for part, value in values.items() if value}


async def test_what_is_well_has_no_bad_finding(settings: Settings) -> None:
    """A ledger that was never checked is odd, not wrong; an Envoy that is not named is left out."""
    registry = CollectorRegistry()
    await DoctorWatch(patient_of(settings), registry).look()
    found = {
        (part, verdict): registry.get_sample_value(
            "tollkeeper_doctor_findings", {"part": part, "verdict": verdict}
        )
        for part in PARTS
        for verdict in ("ok", "bad", "skipped")
    }
    assert {part for part in PARTS if found[part, "bad"]} == set()
    assert {part for part in PARTS if found[part, "ok"]} == {"postgres", "prices", "redis"}
    assert found["envoy", "skipped"] == 1


async def test_each_broken_part_shows(
    settings: Settings, empty_database: str, tmp_path: Path
) -> None:
    """Missing migrations, a Redis and an Envoy that do not answer, a certificate that is over, each
    under its own part."""
    pair = Authority(tmp_path).issue("over", timedelta(hours=-1))
    nowhere = f"127.0.0.1:{free_port()}"
    broken = load_settings(
        config_file=CONFIG,
        home=settings.home,
        postgres_dsn=empty_database,
        redis_url=f"redis://{nowhere}/0",
        envoy_admin_listen=nowhere,
        authz_tls=ListenerTls(certificate=pair.certificate, key=pair.key),
    )
    assert await _bad(broken) == set(PARTS)


async def test_broken_ledger_is_bad_until_a_check_finds_it_in_order(settings: Settings) -> None:
    """What the newest check found is what the doctor says of the books, in its words."""
    async with open_office(settings.require_postgres_dsn()) as office:
        found = Verdict(True, 0, 9, (2, 7), (7,), (), "row 5 was changed", "anna", 1, START)
        async with office.desk.access.writing("test") as connection:
            await keep_verdict(connection, found)
        said = await examine(patient_of(settings), (examine_books,))
        assert [(f.verdict, f.seen) for f in said] == [("bad", "row 5 was changed")]
        assert await _bad(settings) == {"books"}
        well = replace(found, whole=False, broken=(), broken_now=(), text="ok")
        async with office.desk.access.writing("test") as connection:
            await keep_verdict(connection, well)
        assert await _bad(settings) == {"books"}
        async with office.desk.access.writing("test") as connection:
            await keep_verdict(connection, replace(well, whole=True))
    assert await _bad(settings) == set()


async def test_absent_postgres_is_a_finding_and_no_fault(settings: Settings) -> None:
    """The watch lives on while Postgres is away; a role without Redis examines none."""
    away = load_settings(
        config_file=CONFIG,
        home=settings.home,
        postgres_dsn=f"postgresql://p@127.0.0.1:{free_port()}/d",
    )
    assert await _bad(away) == {"postgres", "books", "prices"}
