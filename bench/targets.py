"""The figures to reach, from the issue that set them, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from rich.table import Table


class Target(NamedTuple):
    """A figure: what it must be, and what it should be; ``most`` where less is better."""

    figure: str
    text: str
    must: float
    aim: float
    bound: Literal["least", "most"]
    unit: str = ""
    measured_by: str = "make bench"

    def judge(self, value: float) -> str:
        """In words."""
        if self._holds(value, self.aim):
            return "aim reached"
        return "reached" if self._holds(value, self.must) else "NOT reached"

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.bound == "least" else value <= limit


PEERS = "make bench-peers"
TARGETS = (
    Target("everything_over_alone", "everything on / Envoy alone", 0.20, 0.33, "least"),
    Target(
        "everything_over_go",
        "everything on / do-nothing grpc-go check",
        0.45,
        0.75,
        "least",
        "",
        PEERS,
    ),
    Target(
        "everything_over_go_and_ratelimit",
        "everything on / that check + envoyproxy/ratelimit",
        1.0,
        1.5,
        "least",
        "",
        PEERS,
    ),
    Target(
        "everything_over_litellm", "everything on / LiteLLM's proxy", 15, 25, "least", "", PEERS
    ),
    Target("python_us_per_check", "Python CPU per check with reservation", 60, 30, "most", "us"),
    Target("added_p50_ms", "added latency, one connection, p50", 1.0, 0.5, "most", "ms"),
    Target("added_p99_ms", "added latency, one connection, p99", 3.0, 1.5, "most", "ms"),
    Target("added_p50_ms_at_40", "added latency, 40 req/s, p50", 1.0, 0.5, "most", "ms"),
    Target("added_p99_ms_at_40", "added latency, 40 req/s, p99", 3.0, 1.5, "most", "ms"),
    Target("keys_p99_ratio", "1 000 000 keys / 1 000 keys, p99", 1.3, 1.1, "most"),
    Target("keys_memory_mib", "memory per worker at the most keys", 1024, 400, "most", "MiB"),
    Target("growth_percent", "memory growth over a million checks", 2, 0, "most", "%"),
    Target("settled_per_s", "settled per second, one settler", 10_000, 30_000, "least"),
)


def targets_table(figures: Mapping[str, float]) -> Table:
    """Every target with what was measured."""
    table = Table(title="Targets", title_justify="left")
    for heading in ("", "at least", "aim", "measured", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for target in TARGETS:
        value = figures.get(target.figure)
        sign = "" if target.bound == "least" else "<= "
        told = "-" if value is None else f"{value:,.2f} {target.unit}".strip()
        verdict = (
            f"not in this run ({target.measured_by})" if value is None else target.judge(value)
        )
        table.add_row(
            target.text, f"{sign}{target.must:,g}", f"{sign}{target.aim:,g}", told, verdict
        )
    return table
