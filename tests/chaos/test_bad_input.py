"""Input that nobody should send: it is kept for a person, it is told, and no money moves."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from billing.ticket import Forged, Ticket, TicketSeal
from tests.chaos.arena import Arena
from tests.chaos.pushing import count, expect_exact_books, push, until, until_ended
from tests.chaos.quiet import replay
from tests.chaos.traffic import Payer, ask, new_client

pytestmark = pytest.mark.asyncio(loop_scope="session")
DAY_US = 86_400 * 10**6
ELSEWHERE = b"the secret of another installation"


async def lines_of(arena: Arena, payer: Payer, least: int) -> list[dict[str, Any]]:
    """A payer's lines of Envoy's log file, once so many are there."""
    path = arena.stack.settings.envoy_access_log_file
    account = payer.customer.account_id
    found: list[dict[str, Any]] = []

    async def holds() -> bool:
        text = await asyncio.to_thread(path.read_text)
        found[:] = [json.loads(line) for line in text.splitlines() if account in line]
        return len(found) >= least

    await until(holds, f"{least} lines")
    return found


def resigned(
    line: dict[str, Any], ticket: Ticket, seal: TicketSeal, **changed: Any
) -> dict[str, Any]:
    """The line with its ticket changed and signed anew."""
    return line | {"ticket": seal.sign(msgspec.structs.replace(ticket, **changed))}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def test_tickets_that_are_not_ours_move_no_money(arena: Arena, tmp_path: Path) -> None:
    """Forged, of another installation, from the future, of last year: each goes to quarantine
    under its reason, and the balance stays."""
    payer = await arena.open_payer("forged", 10, {"ping": 1})
    answers = await push(arena, payer, 1)
    (line,) = await lines_of(arena, payer, 1)
    seal = TicketSeal(arena.stack.settings.ticket_secrets)
    opened = seal.open(line["ticket"])
    assert not isinstance(opened, Forged)
    forged = line | {"ticket": line["ticket"][:-4] + "AAAA"}
    other = resigned(line, opened, TicketSeal([ELSEWHERE]))
    ahead = resigned(line, opened, seal, admitted_us=opened.admitted_us + DAY_US)
    behind = resigned(line, opened, seal, admitted_us=opened.admitted_us - 400 * DAY_US)
    said = await replay(arena, write(tmp_path / "bad.log", forged, other, ahead, behind))
    assert said["files"][0]["tally"]["quarantined"] == 4
    arena.quarantined.update({"ticket_wrong_mac": 2, "from_the_future": 1, "too_old": 1})
    await until_ended(arena, payer, "settled", 1)
    await expect_exact_books(arena, payer, answers)


async def test_a_usage_near_the_end_of_numbers_is_for_a_person(
    arena: Arena, tmp_path: Path
) -> None:
    """An entry of a settled request that now names 2^63 tokens is a conflict and charges
    nothing."""
    payer = await arena.open_payer("enormous", 1_000, {"chat": 1})
    line = await _chat(arena, payer)
    enormous = line | {"usage": {"prompt_tokens": 2**63 - 1, "completion_tokens": 2**63 - 1}}
    said = await replay(arena, write(tmp_path / "enormous.log", enormous))
    assert said["files"][0]["tally"]["charged_nanos"] == 0
    assert said["files"][0]["tally"]["conflicts"] == 1
    arena.quarantined["conflict"] += 1
    await expect_exact_books(arena, payer, [])


async def _chat(arena: Arena, payer: Payer) -> dict[str, Any]:
    """One settled chat of a payer whose prices are not those of pings; its line."""
    async with new_client(arena.stack.gateway_url) as client:
        arena.answers.append(await ask(client, payer, "chat"))
    await until_ended(arena, payer, "settled", 1)
    (line,) = await lines_of(arena, payer, 1)
    return line


@pytest.mark.parametrize(
    "content",
    [b"\0" * 4096, b"not a log\n" * 300, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, b"[]\n"],
)
async def test_a_file_that_is_no_log_is_told(arena: Arena, tmp_path: Path, content: bytes) -> None:
    """``tollkeeper replay`` says so and settles nothing."""
    path = tmp_path / "no.log"
    path.write_bytes(content)
    said = await replay(arena, path)
    assert not said["clean"]
    (file,) = said["files"]
    assert file["fault"]
    assert file["entries"] == 0


async def test_a_truncated_archive_gives_what_is_good(arena: Arena, tmp_path: Path) -> None:
    """Rotated, compressed and cut off: what unpacks is read, and the fault is told."""
    payer = await arena.open_payer("truncated", 100, {"ping": 1})
    answers = await push(arena, payer, 60)
    lines = await lines_of(arena, payer, 60)
    packed = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    path = tmp_path / "access.log.1.gz"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    said = await replay(arena, path)
    assert not said["clean"]
    (file,) = said["files"]
    assert file["fault"]
    assert 0 < file["entries"] < 60
    await expect_exact_books(arena, payer, answers)


async def test_two_replays_at_once_charge_once(arena: Arena, tmp_path: Path) -> None:
    """Entries that the stream lost are given to two replays at the same time."""
    payer = await arena.open_payer("twofold", 100, {"ping": 1})
    arena.stack.middleman.mischief = "delay"
    answers = await push(arena, payer, 60)
    lines = await lines_of(arena, payer, 60)
    # Each in a folder of its own: beside each other they would share the place where one stopped.
    one, two = (write(tmp_path / name / "access.log", *lines) for name in ("one", "two"))
    both = await asyncio.gather(replay(arena, one), replay(arena, two))
    tallies = [said["files"][0]["tally"] for said in both]
    assert sum(t["settled"] + t["late"] for t in tallies) == 60, tallies
    assert sum(t["duplicates"] for t in tallies) == 60, tallies
    arena.stack.middleman.mischief = "none"
    await expect_exact_books(arena, payer, answers)


async def test_a_spool_file_of_zeros_does_not_stop_the_sink(arena: Arena) -> None:
    """It is kept aside, the others are settled, and new entries are taken."""
    payer = await arena.open_payer("zeros", 100, {"ping": 1})
    spool = arena.stack.home / "spool" / "settler-1"
    with arena.stack.left_alone("accesslog") as sink:
        await sink.stop()
        (spool / f"{10**6:020}.seg").write_bytes(bytes(1 << 16))
        await sink.start()
    answers = await push(arena, payer, 20)
    await until_ended(arena, payer, "settled", 20)
    assert await count(arena, payer, "late") == 0
    assert list(spool.glob("*damaged*"))
    await expect_exact_books(arena, payer, answers)
