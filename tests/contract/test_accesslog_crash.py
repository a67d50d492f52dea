"""The spool and a process that is killed: whatever an append returned for is there afterwards."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from accesslog.settings import SpoolSettings
from accesslog.spool import Spool
from billing.errors import Conflict

SETTINGS = SpoolSettings(max_bytes=1 << 24, segment_bytes=1 << 16, window_bytes=1 << 14)
OWNER = """
import sys, time
from pathlib import Path
from accesslog.settings import SpoolSettings
from accesslog.spool import Spool

spool = Spool(Path(sys.argv[1]), SpoolSettings(1 << 24, 1 << 16, 1 << 14), time.time_ns, print)
for number in range(1_000_000):
    spool.append(b"%d " % number * (number % 97 + 1))
    if number % 3 == 0:
        for record in spool.take(200):
            spool.acknowledge(record.end)
            print("let go", record.payload.split()[0].decode(), flush=True)
    print("kept", number, flush=True)
"""


async def killed(directory: Path, after: int, stop: signal.Signals | None = None) -> list[str]:
    """Let an owner append until it has said ``after`` lines, kill it, and return its lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(directory), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode() for _ in range(after)]
    if stop is not None:
        process.send_signal(stop)
        with pytest.raises(Conflict):
            Spool(directory, SETTINGS, lambda: 1, lambda *_: None)
    process.kill()
    rest = (await process.stdout.read()).decode().splitlines(keepends=True)
    await process.wait()
    return [line.rstrip("\n") for line in [*lines, *rest] if line.endswith("\n")]


@pytest.mark.parametrize("after", [1, 50, 777, 3_000])
async def test_nothing_that_was_appended_is_lost_by_a_kill(tmp_path: Path, after: int) -> None:
    """After SIGKILL every record that was not let go is read whole, in order, none invented."""
    lines = await killed(tmp_path, after)
    kept = [int(line.split()[1]) for line in lines if line.startswith("kept")]
    let_go = [int(line.split()[2]) for line in lines if line.startswith("let go")]
    told: list[str] = []
    spool = Spool(tmp_path, SETTINGS, lambda: 1, lambda kind, _text: told.append(kind))
    found = []
    while taken := spool.take(1 << 20):
        found += [record.payload for record in taken]
        spool.acknowledge(taken[-1].end)
    spool.close()
    numbers = [int(payload.split()[0]) for payload in found]
    # Between a record's leaving and the line that says so there is room for one kill.
    first = max(let_go, default=-1) + 1
    assert numbers in [list(range(first + one, first + one + len(numbers))) for one in (0, 1)]
    assert set(kept) - set(let_go) - set(numbers) <= {first}
    assert found == [b"%d " % number * (number % 97 + 1) for number in numbers]
    assert set(told) <= {"torn"}


async def test_a_stopped_owner_still_owns(tmp_path: Path) -> None:
    """While the owner is stopped nobody else may have its directory; once it is dead one may."""
    lines = await killed(tmp_path, 20, signal.SIGSTOP)
    assert lines
    Spool(tmp_path, SETTINGS, lambda: 1, lambda *_: None).close()
