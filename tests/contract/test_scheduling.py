"""How the kernel is asked to share out cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BOTH = """
import os, subprocess, sys
from tollkeeper.running import take_longer_turns
take_longer_turns()
print(os.sched_getscheduler(0))
ask = "import os; print(os.sched_getscheduler(0))"
subprocess.run([sys.executable, "-c", ask], check=True)
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has SCHED_BATCH")
def test_a_role_and_what_it_starts_take_longer_turns() -> None:
    """The policy is SCHED_BATCH for the process and for the workers that it starts."""
    told = subprocess.run(
        [sys.executable, "-u", "-c", BOTH], capture_output=True, text=True, check=True, timeout=30
    )
    assert told.stdout.split() == [str(os.SCHED_BATCH)] * 2
