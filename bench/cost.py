"""What a load costs: CPU seconds and memory by process, Python apart from the Envoy around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ENVOY_THREADS = ("wrk:", "dog:", "GrpcGoogClient", "AccessLogFlush", "dns_resolver")
"""Names of Envoy's own threads beside its first; the others of a hosted worker run Python."""


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds so far by name of a process, and its memory now."""

    cpu_s: Mapping[str, float]
    memory_bytes: Mapping[str, int]

    def since(self, before: Spent) -> dict[str, float]:
        """CPU seconds between two looks."""
        return {name: self.cpu_s[name] - before.cpu_s.get(name, 0.0) for name in self.cpu_s}


def look(pids: Mapping[str, int]) -> Spent:
    """What these processes and their children have spent.

    Where a process hosts Python in an Envoy, the Python threads stand apart as ``NAME python``.
    """
    cpu_s: dict[str, float] = {}
    memory: dict[str, int] = {}
    for name, pid in pids.items():
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        memory[name] = sum(process.memory_info().rss for process in family)
        for process in family:
            python_s, envoy_s = _threads(process)
            if envoy_s is None:
                cpu_s[name] = cpu_s.get(name, 0.0) + python_s
            else:
                cpu_s[name] = cpu_s.get(name, 0.0) + envoy_s
                cpu_s[f"{name} python"] = cpu_s.get(f"{name} python", 0.0) + python_s
    return Spent(cpu_s, memory)


def _threads(process: psutil.Process) -> tuple[float, float | None]:
    """Seconds of a process; of a hosted worker, of its Python threads and of the others."""
    times = process.cpu_times()
    total_s = times.user + times.system
    if "--config-yaml" not in process.cmdline():
        return total_s, None
    envoy_s = sum(
        thread.user_time + thread.system_time
        for thread in process.threads()
        if thread.id == process.pid or _name(process.pid, thread.id).startswith(ENVOY_THREADS)
    )
    return total_s - envoy_s, envoy_s


def _name(pid: int, thread_id: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread_id}/comm").read_text().strip()
    except OSError:
        return ""  # it ended between the list and the look
