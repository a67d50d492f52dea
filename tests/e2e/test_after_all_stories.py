"""What the whole run left behind: books that prove, and logs without a secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.ledger_reading import Books
from tests.e2e.stage import CREDIT, Stage
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.operations.desk import open_desk
from tollkeeper.stack.plan import EXAMPLE_CREDENTIAL

BODIES = ("secretly", "word0", "pong", "0x15180d0")
"""Words of the bodies that clients sent, and of those that they got."""

SOON_S = 10.0


async def expect_proof(stage: Stage, books: Books) -> None:
    """Assert that every invariant of the ledger holds, from the first batch on."""
    hot = Hot(books.hot, books.truth, time.time)
    async with open_desk(stage.stack.settings.require_postgres_dsn()) as desk:
        report = await check_ledger(desk, CheckAsk(whole=True, hot=hot), lambda *_: None)
    assert report.verdict == "ledger check: ok"
    assert [proof.skipped for proof in report.proofs] == [""] * 8
    pending = "SELECT count(*) FROM reservations WHERE state = 'pending'"
    assert await books.pool.fetchval(pending) == 0


async def test_the_ledger_proves_itself(stage: Stage, books: Books) -> None:
    """All eight invariants hold after all stories, and nothing is pending."""
    await expect_proof(stage, books)


async def test_the_ledger_over_a_cluster_proves_itself(
    cluster_stage: Stage, cluster_books: Books
) -> None:
    """The same where workers and a Redis were killed."""
    await expect_proof(cluster_stage, cluster_books)


async def flush_access_log(stage: Stage) -> str:
    """Make Envoy write out what it keeps of its log; returns the text of the log."""
    customer = await stage.customer(CREDIT)
    async with stage.client(customer) as client:
        request_id = (await client.get("/self")).headers["x-request-id"]
    log = stage.stack.settings.envoy_access_log_file
    deadline_s = time.monotonic() + SOON_S
    async with httpx.AsyncClient() as client:
        while request_id not in (text := log.read_text()):
            assert time.monotonic() < deadline_s, "Envoy does not write its log"
            await client.post(f"http://{stage.stack.settings.envoy_admin_listen}/reopen_logs")
            await asyncio.sleep(0.1)
    return text


def logs_below(home: Path) -> list[Path]:
    """The log of every process of a stack."""
    return sorted(path for path in home.rglob("*.log*") if path.is_file())


def lines_with(path: Path, secrets: list[str]) -> Iterator[str]:
    """The lines of a log that hold one of these."""
    with path.open(errors="replace") as log:
        for line in log:
            if any(secret in line for secret in secrets):
                yield f"{path.name}: {line[:300]}"


@pytest.mark.parametrize("which", ["stage", "cluster_stage"])
async def test_no_log_holds_a_secret(request: pytest.FixtureRequest, which: str) -> None:
    """No key, body or credential of the whole run stands in any log of any process."""
    stage: Stage = request.getfixturevalue(which)
    written = await flush_access_log(stage)
    assert '"path":"/flat/ping"' in written
    assert stage.keys
    tickets = [secret.decode() for secret in stage.stack.settings.ticket_secrets]
    secrets = [*stage.keys, *BODIES, EXAMPLE_CREDENTIAL, *tickets]
    logs = logs_below(stage.stack.home)
    names = {path.name for path in logs}
    roles = {f"{name}.log" for name in stage.stack.parts}
    assert names >= roles | {"access.log"}
    assert [line for path in logs for line in lines_with(path, secrets)] == []
