"""The meter of tool runs: a base price, CPU time, and memory held over time (docs/pricing.md).

``base + CPU seconds x price + GB x wall seconds x price``, all in proportion: half of a CPU second
is half of its price. 1 GB is 1024 MiB here, as cgroups and schedulers count. CPU time and memory
are what the tool backend reports; the wall time is Envoy's, first byte in to last byte out.

A run whose backend reported no CPU time, or no memory, is not priced: the wall time in its place
would charge a tool for waiting, and any assumed memory is a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from billing.meters.amounts import (
    PPM,
    ExactAmount,
    check_markup,
    check_setting,
    check_sides,
    make_cost,
    make_quote,
)
from billing.meters.readings import ZERO, Exact, Unreadable, read_exact, read_whole
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS, NANOS_PER_CREDIT, ceil_div
from billing.refusals import Refusal, refuse

MS_PER_S = 1000
MIB_PER_GB = 1024
MAX_SETTING = 1 << 30


class _Run(NamedTuple):
    """What one run took: CPU time and wall time in milliseconds, memory in MiB."""

    cpu_ms: Exact
    memory_mib: Exact
    duration_ms: int

    def denominator(self) -> int:
        """What every part of the price is a fraction of, so that the parts add up exactly."""
        return self.cpu_ms.denominator * self.memory_mib.denominator * MS_PER_S * MIB_PER_GB

    def units(self) -> int:
        """Seconds of the longer of the two times, rounded up; a run is one unit at least."""
        cpu_s = ceil_div(self.cpu_ms.numerator, self.cpu_ms.denominator * MS_PER_S)
        return max(1, cpu_s, ceil_div(self.duration_ms, MS_PER_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationRates:
    """One side's prices of a run, in nano-USD: its start, a CPU second, a GB held for a second."""

    base_nanos: int
    nanos_per_cpu_s: int
    nanos_per_gb_s: int

    def __post_init__(self) -> None:
        for name in ("base_nanos", "nanos_per_cpu_s", "nanos_per_gb_s"):
            check_setting(name, getattr(self, name), 0, MAX_NANOS)

    def numerator(self, run: _Run) -> int:
        """The price of a run, as nano-USD times ``run.denominator()``: exact."""
        cpu, memory = run.cpu_ms, run.memory_mib
        return (
            self.base_nanos * run.denominator()
            + cpu.numerator * self.nanos_per_cpu_s * memory.denominator * MIB_PER_GB
            + memory.numerator * run.duration_ms * self.nanos_per_gb_s * cpu.denominator
        )

    def work(self, run: _Run) -> str:
        """The same, as a formula with its numbers."""
        return (
            f"({self.base_nanos} + {run.cpu_ms} ms CPU / 1000 x {self.nanos_per_cpu_s}"
            f" + {run.memory_mib} MiB / 1024 x {run.duration_ms} ms / 1000"
            f" x {self.nanos_per_gb_s})"
        )


DEFAULT_RATES = DurationRates(
    base_nanos=2 * NANOS_PER_CREDIT,
    nanos_per_cpu_s=NANOS_PER_CREDIT // 2,
    nanos_per_gb_s=NANOS_PER_CREDIT // 4,
)
"""2 credits, 1 per 2 s of CPU, 1 per 4 s of a GB (contract, section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationTariff:
    """Prices of runs, and the bounds that the tool backend keeps.

    ``own`` is the book's price (``None``: the provider's times the markup). The ``max_`` settings
    are what a run may take at most, and the quote's maximum; a client may ask for less
    (``cpu_s``, ``memory_mib``, ``duration_s`` of ``Ask.requested``) and so be held for less. The
    defaults are those of a small sandbox: a minute of CPU, two minutes, 2 GB; typically one CPU
    second within two, in 256 MiB.
    """

    own: DurationRates | None = DEFAULT_RATES
    provider: DurationRates | None = None
    markup_ppm: int = PPM
    max_cpu_s: int = 60
    max_memory_mib: int = 2048
    max_duration_s: int = 120
    typical_cpu_s: int = 1
    typical_memory_mib: int = 256
    typical_duration_s: int = 2

    def __post_init__(self) -> None:
        check_sides("a duration tariff", self.own, self.provider)
        check_markup(self.markup_ppm)
        for name in ("cpu_s", "memory_mib", "duration_s"):
            check_setting(f"max_{name}", getattr(self, f"max_{name}"), 1, MAX_SETTING)
            check_setting(f"typical_{name}", getattr(self, f"typical_{name}"), 0, MAX_SETTING)

    def quote(self, ask: Ask) -> Quote | Refusal:
        """Quote from the base price to the bounds; asking beyond them is ``bad_request_body``."""
        cpu_s = _bound(ask, "cpu_s", self.max_cpu_s)
        if isinstance(cpu_s, Refusal):
            return cpu_s
        memory_mib = _bound(ask, "memory_mib", self.max_memory_mib)
        if isinstance(memory_mib, Refusal):
            return memory_mib
        duration_s = _bound(ask, "duration_s", self.max_duration_s)
        if isinstance(duration_s, Refusal):
            return duration_s
        least = _run(0, 0, 0)
        most = _run(cpu_s, memory_mib, duration_s)
        typical = _run(
            min(self.typical_cpu_s, cpu_s),
            min(self.typical_memory_mib, memory_mib),
            min(self.typical_duration_s, duration_s),
        )
        units = (least.units(), typical.units(), most.units())
        amounts = (self._amount(least), self._amount(typical), self._amount(most))
        return make_quote(*amounts, units, {})

    def cost(self, basis: Mapping[str, object], usage: Usage) -> Cost | NoUsage:  # noqa: ARG002
        """Price what the backend reported; ``NoUsage`` where a part that has a price is missing.

        More than the bounds is billed in full: the run did take it.
        """
        cpu_ms = self._read("cpu time", usage.cpu_ms, "nanos_per_cpu_s")
        if isinstance(cpu_ms, Unreadable):
            return NoUsage(cpu_ms.reason)
        memory_mib = self._read("memory", usage.memory_mib, "nanos_per_gb_s")
        if isinstance(memory_mib, Unreadable):
            return NoUsage(memory_mib.reason)
        duration_ms = read_whole("duration", usage.duration_ms)
        if isinstance(duration_ms, Unreadable):
            return NoUsage(duration_ms.reason)
        run = _Run(cpu_ms, memory_mib, duration_ms)
        return make_cost(self._amount(run), run.units(), self._priced_by().work(run))

    def _priced_by(self) -> DurationRates:
        rates = self.own or self.provider
        assert rates is not None, "checked when the tariff was made"
        return rates

    def _read(self, name: str, value: object, rate: str) -> Exact | Unreadable:
        """Read one part of the usage; one that costs nothing on either side may be missing."""
        sides = [side for side in (self.own, self.provider) if side is not None]
        if value is None and not any(getattr(side, rate) for side in sides):
            return ZERO
        return read_exact(name, value)

    def _amount(self, run: _Run) -> ExactAmount:
        return ExactAmount(
            own=None if self.own is None else self.own.numerator(run),
            provider=None if self.provider is None else self.provider.numerator(run),
            denominator=run.denominator(),
            markup_ppm=self.markup_ppm,
        )


def _run(cpu_s: int, memory_mib: int, duration_s: int) -> _Run:
    return _Run(Exact(cpu_s * MS_PER_S, 1), Exact(memory_mib, 1), duration_s * MS_PER_S)


def _bound(ask: Ask, field: str, limit: int) -> int | Refusal:
    """What the client asked for, rounded up to whole units, or the limit when it did not ask."""
    value = ask.requested.get(field)
    if value is None:
        return limit
    found = read_exact(field, value)
    if isinstance(found, Unreadable) or not 1 <= ceil_div(*found) <= limit:
        reason = f"{field} must be a number above 0 and at most {limit}"
        return refuse("bad_request_body", reason, field=field, limit=limit)
    return ceil_div(*found)
