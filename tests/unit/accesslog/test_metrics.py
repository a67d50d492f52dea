"""What is counted stays bounded, whatever comes in."""

from pathlib import Path

from prometheus_client import generate_latest

from accesslog.assembly import open_spool
from accesslog.metrics import PREFIX
from accesslog.records import encode_entries
from tests.unit.accesslog.door import make_entry, make_ticket, open_door

SERIES = 250
NAMES = SERIES  # a series for each would be too many


async def test_labels_do_not_grow_with_the_input() -> None:
    """Hundreds of names of routes, models, requests and forgeries make no more series than one."""
    door = await open_door()
    for n in range(NAMES):
        ticket = make_ticket(n, route=f"route-{n}", price_version=f"v{n}")
        named = {"model": f"m{n}", "output_tokens": f"text {n}"}
        await door.settle(
            door.entry(ticket, usage=named, request_id=f"r{n}", details=f"d{n}"),
            door.entry(make_ticket(10_000 + n), usage=named),
            make_entry(f"forged {n}"),
        )
    lines = [line for line in generate_latest(door.registry).splitlines() if line[:1] != b"#"]
    assert len(lines) < SERIES
    assert door.count("outcomes_total", route="(unknown)", row="answered") == NAMES
    assert door.count("needs_review_total", reason="unknown_route") == NAMES
    assert door.count("needs_review_total", reason="no_usage") == NAMES
    assert door.count("refused_total", reason="ticket_not_a_ticket") == NAMES
    assert all(line.startswith(PREFIX.encode()) for line in lines)


async def test_the_depth_of_the_spool_is_shown(tmp_path: Path) -> None:
    """Bytes, records and age are read when somebody looks."""
    door = await open_door()
    spool = open_spool(tmp_path, door.desk)
    assert door.count("spool_age_seconds") == 0
    spool.append(encode_entries([make_entry("t")]))
    door.clock.forward(12)
    assert door.count("spool_records") == 1
    assert door.count("spool_bytes") == spool.size_bytes > 0
    assert door.count("spool_age_seconds") == 12
    spool.close()
