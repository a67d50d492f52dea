"""The worked example of docs/ledger.md: what happens in it, and the commands that it shows.

``python -m tests.contract.ledger_page`` writes the page anew with what the commands print now.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from devstack import Postgres
from tests.contract.desks import ANNA, Office, open_office
from tests.contract.paid_work import CHARGING_ROUTE, PaidWork, id_at
from tollkeeper.migrate import migrate
from tollkeeper.operations import orders

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"
_BLOCK = re.compile(r"```console\n\$ tollkeeper (?P<args>.*)\n(?P<output>(?:.*\n)*?)```\n")

USD = 10**9


async def play(office: Office) -> None:
    """What the page says that happened."""
    numbers = itertools.count(100)

    def new_id() -> str:
        return id_at(int(office.clock.now.timestamp()) * 1000, next(numbers))

    desk = replace(office.desk, new_id=new_id)
    office = replace(office, desk=desk)
    await office.sells("llm")
    acme = await office.account("acme")
    async with office.desk.act(ANNA, "pay") as act:
        await orders.topup(act, acme.id, 25 * USD, "invoice 2026-001")
    office.clock.forward(timedelta(minutes=1))
    work = PaidWork(office)
    answered = work.request(acme, 3_000_000, provider_cost_nanos=2_000_000)
    unanswered = work.unbilled(acme)
    lost = work.request(
        acme,
        500_000,
        route=CHARGING_ROUTE,
        held_nanos=1_000_000,
        quoted_nanos=1_000_000,
    )
    await work.admit(answered, unanswered, lost)
    await work.settle(answered, unanswered)
    await work.expire()
    office.clock.forward(timedelta(minutes=5))
    await work.settle(lost)
    office.clock.forward(timedelta(minutes=5))
    async with office.desk.act(ANNA, "give back") as act:
        await orders.correct(act, acme.id, USD, "outage 2026-03-09", reason="outage")


def blocks(text: str) -> Iterator[tuple[list[str], str]]:
    """The commands of the page, each with the output that stands under it."""
    for found in _BLOCK.finditer(text):
        yield shlex.split(found["args"]), found["output"]


def written_anew(text: str, run: Callable[[list[str]], str]) -> str:
    """The page with what the commands print now."""

    def fresh(found: re.Match[str]) -> str:
        output = run(shlex.split(found["args"]))
        return f"```console\n$ tollkeeper {found['args']}\n{output}```\n"

    return _BLOCK.sub(fresh, text)


def main() -> None:
    """Run the example in a database of its own, and write what it prints into the page."""
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        asyncio.run(server.start())
        try:
            asyncio.run(_prepare(server.dsn()))
            env = os.environ | {"TOLLKEEPER_POSTGRES_DSN": server.dsn()}
            PAGE.write_text(written_anew(PAGE.read_text(), lambda args: _printed(args, env)))
        finally:
            asyncio.run(server.stop())


async def _prepare(dsn: str) -> None:
    await migrate(dsn)
    async with open_office(dsn) as office:
        await play(office)


def _printed(args: list[str], env: dict[str, str]) -> str:
    command = [sys.executable, "-c", "from tollkeeper.cli import main; main()", *args]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
