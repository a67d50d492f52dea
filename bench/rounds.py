"""Rounds that take turns (A B A B), and what they come to: medians, spread, cost of a request."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.cost import look
from bench.load import WARM_S, Load, put_load
from bench.stage import Stage

MOST_REFUSED = 0.05
"""No request should be refused; what is, is not counted as served, and told. More than this part
of them is a fault of the set-up."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is loaded: a gateway, a route, so many connections."""

    name: str
    gateway: str
    route: str = "ping"
    connections: int = 64
    keys_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One load of a case. ``per_s`` counts settled requests where the gateway settles."""

    per_s: float
    served_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    memory_mib: dict[str, float]
    done: int
    refused: int


@dataclass(slots=True)
class Row:
    """The rounds of a case, and their medians."""

    case: Case
    rounds: list[Round] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        return statistics.median(round_.per_s for round_ in self.rounds)

    @property
    def spread(self) -> float:
        """Half of what lies between the best and the worst round, as a part of the median."""
        found = [round_.per_s for round_ in self.rounds]
        return (max(found) - min(found)) / 2 / self.per_s

    @property
    def p50_ms(self) -> float:
        return statistics.median(round_.p50_ms for round_ in self.rounds)

    @property
    def p99_ms(self) -> float:
        return statistics.median(round_.p99_ms for round_ in self.rounds)

    def cpu_us(self, process: str) -> float:
        """CPU of one process for one request."""
        return statistics.median(round_.cpu_us.get(process, 0.0) for round_ in self.rounds)

    def memory_mib(self, process: str) -> float:
        """Memory of one process after the last round."""
        return self.rounds[-1].memory_mib.get(process, 0.0)

    def told(self) -> dict[str, Any]:
        """For the file of results."""
        case = {"gateway": self.case.gateway, "route": self.case.route}
        return {
            "name": self.case.name,
            **case,
            "connections": self.case.connections,
            "per_s": self.per_s,
            "spread": self.spread,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "rounds": [asdict(round_) for round_ in self.rounds],
        }


async def take_turns(
    stage: Stage, cases: Sequence[Case], rounds: int, seconds: float
) -> dict[str, Row]:
    """Warm all cases up, then load them in turns; the order is reversed every other round."""
    rows = {case.name: Row(case) for case in cases}
    for case in cases:
        await put_load(stage.target(case.gateway, case.route, case.keys_file), 16, 1.0)
    for number in range(rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            rows[case.name].rounds.append(await _round(stage, case, seconds))
    return rows


async def _round(stage: Stage, case: Case, seconds: float) -> Round:
    gateway = stage.gateways[case.gateway]
    target = stage.target(case.gateway, case.route, case.keys_file)
    before = look(gateway.pids)
    if gateway.settles:
        load, settled_per_s = await _settling(stage, put_load(target, case.connections, seconds))
        await stage.until_settled()
    else:
        load, settled_per_s = await put_load(target, case.connections, seconds), None
    after = look(gateway.pids)
    if load.refused > load.done * MOST_REFUSED:
        raise RuntimeError(f"{case.name}: {load.refused} of {load.done} requests were refused")
    return Round(
        per_s=load.per_s if settled_per_s is None else min(settled_per_s, load.per_s),
        served_per_s=load.per_s,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        cpu_us={name: s / load.done * 1e6 for name, s in after.since(before).items()},
        memory_mib={name: size / 2**20 for name, size in after.memory_bytes.items()},
        done=load.done,
        refused=load.refused,
    )


async def _settling(stage: Stage, loading: Any) -> tuple[Load, float]:
    """The load, and how many requests a second were committed while it lasted."""
    running = asyncio.create_task(loading)
    await asyncio.sleep(WARM_S)
    began_s, settled_before = time.monotonic(), await stage.settled()
    load = await running
    settled_after = await stage.settled()
    return load, (settled_after - settled_before) / (time.monotonic() - began_s)
