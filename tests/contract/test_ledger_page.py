"""docs/ledger.md: its chart is the program's, and its example prints what stands there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from billing.ledger import CHART
from tests.contract.desks import open_office
from tests.contract.ledger_page import PAGE, blocks, play
from tollkeeper.cli.program import run


def test_chart_of_the_page_is_the_programs() -> None:
    """Each kind of transfer stands there with the sides that the code gives it."""
    row = re.compile(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|", re.MULTILINE)
    told = {kind: (debit, credit) for kind, debit, credit in row.findall(PAGE.read_text())}
    assert told == dict(CHART)


def test_example_prints_what_the_page_says(
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Every command of the page, in its order, prints what stands under it, to the letter."""
    monkeypatch.setenv("TOLLKEEPER_POSTGRES_DSN", database)
    monkeypatch.delenv("TOLLKEEPER_REDIS_URL", raising=False)
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path))
    asyncio.run(_play(database))
    shown = list(blocks(PAGE.read_text()))
    assert len(shown) == 6
    for args, output in shown:
        assert run(args) == 0
        assert capsys.readouterr().out == output, args


async def _play(database: str) -> None:
    async with open_office(database) as office:
        await play(office)
