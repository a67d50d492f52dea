"""``tollkeeper doctor`` beside a running stack: all is well, and then one part after the other is
not. What else it finds is shown over single parts in ``tests/contract/test_doctor.py``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devstack import free_port
from devstack.resp import ask
from tests.e2e.ledger_reading import Books
from tests.e2e.program import Program, program_beside
from tests.e2e.stage import Stage

PARTS = {"configuration", "postgres", "books", "prices", "redis", "envoy", "roles"}


@pytest.fixture
def program(stage: Stage) -> Program:
    """The program, which finds the stack by its data directory alone."""
    return program_beside(stage)


async def wrong(program: Program) -> dict[str, Any]:
    """The one thing that is wrong, of a doctor who exits with 1."""
    (found,) = [one for one in await findings(program, 1) if one["verdict"] == "bad"]
    return dict(found)


async def findings(program: Program, code: int) -> list[dict[str, Any]]:
    """All findings as JSON, from a doctor who exits with this code."""
    ran = await program.run("doctor", "--json")
    assert ran.code == code, ran
    return list(json.loads(ran.out))


async def test_a_healthy_stack(stage: Stage, program: Program) -> None:
    """Nothing is wrong: every part is there, both workers and all other roles among them, and Envoy
    runs what would be rendered."""
    found = await findings(program, 0)
    assert [one for one in found if one["verdict"] in {"bad", "skipped"}] == []
    assert {one["part"] for one in found} == PARTS
    roles = [one["seen"] for one in found if one["part"] == "roles"]
    assert len(roles) == len(stage.stack.describe()["metrics"]) == 5
    assert all(seen.endswith(": ready") for seen in roles)
    assert (await program.tells("doctor")).splitlines()[-1] == "doctor: all is well"


async def test_redis_is_away(program: Program) -> None:
    """It names the part and the variable; the other parts are looked at all the same."""
    away = program.where(TOLLKEEPER_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    found = await wrong(away)
    assert found["part"] == "redis"
    assert found["remedy"] == "start Redis, or set TOLLKEEPER_REDIS_URL"
    said = await away.run("doctor")
    assert (said.code, said.out.splitlines()[-1]) == (1, "doctor: 1 thing is wrong")
    assert found["remedy"] in said.out


async def test_redis_would_evict(stage: Stage, program: Program) -> None:
    """A policy that throws balances away is wrong before it has thrown one away."""
    port = int(stage.stack.parts["redis"].address.rpartition(":")[2])
    await ask(port, "CONFIG", "SET", "maxmemory", "1gb")
    await ask(port, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        found = await wrong(program)
    finally:
        await ask(port, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        await ask(port, "CONFIG", "SET", "maxmemory", "0")
    assert "allkeys-lru: it would evict balances" in found["seen"]
    assert "maxmemory-policy noeviction" in found["remedy"]


async def test_postgres_without_migrations(stage: Stage, books: Books, program: Program) -> None:
    """Every part that misses a table leads to the one command that makes them."""
    async with _blank_database(stage, books) as dsn:
        found = await findings(program.where(**_set(stage, TOLLKEEPER_POSTGRES_DSN=dsn)), 1)
    bad = {one["part"]: one for one in found if one["verdict"] == "bad"}
    assert bad.keys() == {"postgres", "books", "prices", "redis"}
    assert bad["postgres"]["seen"].endswith("first 0001_accounts.sql")
    assert all("`tollkeeper migrate`" in one["seen"] + one["remedy"] for one in bad.values())


async def test_envoy_runs_another_configuration(
    stage: Stage, program: Program, tmp_path: Path
) -> None:
    """A route that was changed in the file and not in Envoy is found, with its place."""
    text = stage.stack.settings.config_file.read_text()
    found = await wrong(_with_file(program, tmp_path, text.replace("/flat/ping", "/flat/pong")))
    assert "another configuration, first at bootstrap.static_resources.listeners" in found["seen"]
    assert "tollkeeper envoy render" in found["remedy"]


async def test_the_file_is_broken(stage: Stage, program: Program, tmp_path: Path) -> None:
    """File and line are named once; what would be held against the file is skipped."""
    text = stage.stack.settings.config_file.read_text()
    broken = _with_file(program, tmp_path, text.replace("profiles:", "profile:", 1))
    found = {(one["part"], one["verdict"]): one for one in await findings(broken, 1)}
    assert "tollkeeper.yaml:" in found["configuration", "bad"]["seen"]
    assert {part for part, verdict in found if verdict == "bad"} == {"configuration"}
    assert {part for part, verdict in found if verdict == "skipped"} == {"prices", "envoy"}


async def test_prices_of_the_file_are_not_in_force(
    stage: Stage, program: Program, tmp_path: Path
) -> None:
    """A price that was changed in place is told, with what to do instead."""
    text = stage.stack.settings.config_file.read_text()
    assert "usd_per_request: 0.001" in text
    text = text.replace("usd_per_request: 0.001", "usd_per_request: 0.002")
    found = await wrong(_with_file(program, tmp_path, text))
    assert found["seen"] == "version 2026-01 has other prices in the database"
    assert found["remedy"] == "restore it in the file and write a new version"


def _with_file(program: Program, folder: Path, text: str) -> Program:
    path = folder / "tollkeeper.yaml"
    path.write_text(text)
    return program.where(TOLLKEEPER_CONFIG_FILE=str(path))


def _set(stage: Stage, **variables: str) -> dict[str, str]:
    """What a stack tells by itself, as variables: one Postgres set, all the rest must be."""
    settings = stage.stack.settings
    return {
        "TOLLKEEPER_REDIS_URL": settings.require_redis_url(),
        "TOLLKEEPER_TICKET_SECRET_FILE": str(settings.home / "secrets" / "ticket"),
        **variables,
    }


@asynccontextmanager
async def _blank_database(stage: Stage, books: Books) -> AsyncIterator[str]:
    """A database beside the stack's own, without any table."""
    await books.pool.execute("CREATE DATABASE blank")
    dsn = stage.stack.settings.require_postgres_dsn()
    try:
        yield f"{dsn.rpartition('/')[0]}/blank"
    finally:
        await books.pool.execute("DROP DATABASE blank WITH (FORCE)")
