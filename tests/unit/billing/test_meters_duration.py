"""The meter of tool runs, against numbers worked out by hand.

The default prices: 2 credits a run, 500 000 nano-USD a CPU second, 250 000 a GB held for a second.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replace_fields

from billing.errors import ConfigError
from billing.meters.duration import DEFAULT_RATES, DurationRates, DurationTariff
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS
from billing.refusals import Refusal
from tests.unit.billing import metering

TARIFF = DurationTariff()
RUN = Usage(cpu_ms=1_500, memory_mib=512, duration_ms=3_000)
PROVIDER = DurationRates(base_nanos=1_000_000, nanos_per_cpu_s=200_000, nanos_per_gb_s=100_000)
HALF: Any = 0.5  # what YAML may hold and types would not let through


def quoted(tariff: DurationTariff, **requested: object) -> Quote:
    """The quote of a run that can be priced."""
    return metering.quoted(tariff, Ask(requested=requested))


def cost_of(tariff: DurationTariff, usage: Usage) -> Cost:
    """The cost of a run that can be priced."""
    return metering.cost_of(tariff, {}, usage)


def test_the_contracts_prices_are_the_default() -> None:
    """Base 2 credits, 1 for 2 s of CPU, 1 for 4 s of a GB (1 024 MiB): 4 credits."""
    usage = Usage(cpu_ms=2_000, memory_mib=1_024, duration_ms=4_000)
    assert cost_of(TARIFF, usage).price_nanos == 4_000_000


def test_a_run_costs_in_proportion() -> None:
    """2 000 000 + 1.5 x 500 000 + 0.5 x 3 x 250 000 = 3 125 000; 3 s are the longer time."""
    found = cost_of(TARIFF, RUN)
    assert (found.price_nanos, found.provider_cost_nanos, found.units) == (3_125_000, None, 3)
    assert found.formula == (
        "(2000000 + 1500 ms CPU / 1000 x 500000 + 512 MiB / 1024 x 3000 ms / 1000 x 250000)"
        " = 3125000 nano-USD"
    )


@pytest.mark.parametrize(
    ("cpu_ms", "duration_ms", "units"),
    [(0, 0, 1), (1, 999, 1), (0, 1_000, 1), (0, 1_001, 2), ("8000.5", 2_000, 9), (8_000, 1, 8)],
)
def test_units_are_seconds_of_the_longer_time(cpu_ms: object, duration_ms: int, units: int) -> None:
    """Rounded up, one at least; two cores make more CPU seconds than wall seconds."""
    usage = Usage(cpu_ms=cpu_ms, memory_mib=0, duration_ms=duration_ms)
    assert cost_of(TARIFF, usage).units == units


def test_reports_may_be_text_or_doubles() -> None:
    """Headers are text, metadata are doubles; both are read exactly."""
    expected = cost_of(TARIFF, RUN)
    assert TARIFF.cost({}, replace_fields(RUN, cpu_ms="1500", memory_mib=" 512.0 ")) == expected
    assert TARIFF.cost({}, replace_fields(RUN, cpu_ms=1500.0, memory_mib=512.0)) == expected


def test_the_parts_are_rounded_together() -> None:
    """0.001 ms of CPU are 0.5 nano-USD, 2.048 MiB for 1 ms are 0.5: together 1, not 2."""
    found = cost_of(TARIFF, Usage(cpu_ms="0.001", memory_mib="2.048", duration_ms=1))
    assert found.price_nanos == 2_000_001


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (replace_fields(RUN, cpu_ms=None), "cpu time missing"),
        (replace_fields(RUN, memory_mib=None), "memory missing"),
        (replace_fields(RUN, cpu_ms="-1"), "cpu time is negative"),
        (replace_fields(RUN, cpu_ms=-0.5), "cpu time is negative"),
        (replace_fields(RUN, cpu_ms=float("nan")), "cpu time is not a decimal number"),
        (replace_fields(RUN, cpu_ms="NaN"), "cpu time is not a decimal number"),
        (replace_fields(RUN, cpu_ms="12ms"), "cpu time is not a decimal number"),
        (replace_fields(RUN, cpu_ms=True), "cpu time is not a decimal number"),
        (replace_fields(RUN, cpu_ms=""), "cpu time is not a decimal number"),
        (replace_fields(RUN, memory_mib="512, 512"), "memory is not a decimal number"),
        (replace_fields(RUN, memory_mib="1e99"), "memory is above 9007199254740992"),
        (replace_fields(RUN, duration_ms=-1), "duration is negative"),
    ],
)
def test_unusable_usage_is_never_priced(usage: Usage, reason: str) -> None:
    """A missing CPU time is not replaced by the wall time: that would charge for waiting."""
    assert TARIFF.cost({}, usage) == NoUsage(reason)


def test_a_part_without_a_price_need_not_be_reported() -> None:
    """Where CPU is free on both sides, 2 000 000 + 0.5 x 3 x 250 000; garbage is still refused."""
    free_cpu = replace(TARIFF, own=replace(DEFAULT_RATES, nanos_per_cpu_s=0))
    assert cost_of(free_cpu, replace_fields(RUN, cpu_ms=None)).price_nanos == 2_375_000
    assert isinstance(free_cpu.cost({}, replace_fields(RUN, cpu_ms="x")), NoUsage)
    paid_by_us = replace(free_cpu, provider=PROVIDER)
    assert paid_by_us.cost({}, replace_fields(RUN, cpu_ms=None)) == NoUsage("cpu time missing")


def test_a_quote_reaches_from_the_base_to_the_bounds() -> None:
    """Least: the base. Typically + 1 x 500 000 + 0.25 x 2 x 250 000. Most: 60 s CPU, 2 GB, 120 s.

    2 000 000 + 60 x 500 000 + 2 x 120 x 250 000 = 92 000 000.
    """
    found = quoted(TARIFF)
    nanos = (found.min_nanos, found.typical_nanos, found.max_nanos)
    assert nanos == (2_000_000, 2_625_000, 92_000_000)
    assert (found.min_units, found.typical_units, found.max_units) == (1, 2, 120)
    assert found.basis == {}


def test_a_typical_run_may_take_next_to_nothing() -> None:
    """Typical settings of 0 quote the base; those above the bounds quote the bounds."""
    idle = replace(TARIFF, typical_cpu_s=0, typical_memory_mib=0, typical_duration_s=0)
    assert quoted(idle).typical_nanos == 2_000_000
    busy = replace(TARIFF, typical_cpu_s=99, typical_memory_mib=9_999, typical_duration_s=999)
    assert quoted(busy).typical_nanos == quoted(busy).max_nanos == 92_000_000


def test_asking_for_less_holds_less() -> None:
    """10 s CPU, 512 MiB, 30 s: 2 000 000 + 10 x 500 000 + 0.5 x 30 x 250 000 = 10 750 000."""
    found = quoted(TARIFF, cpu_s=10.0, memory_mib="512", duration_s=30, unknown="x")
    assert (found.max_nanos, found.max_units) == (10_750_000, 30)
    assert quoted(TARIFF, cpu_s=None) == quoted(TARIFF)


def test_asking_for_a_part_of_a_second_holds_the_second() -> None:
    """0.5 s of CPU are held as 1 s: 2 000 000 + 500 000 + 2 x 120 x 250 000."""
    assert quoted(TARIFF, cpu_s="0.5").max_nanos == 62_500_000


@pytest.mark.parametrize("asked", [61, 60.5, "1e9", 0, -1, "many", True, float("inf"), [1]])
def test_asking_beyond_the_bounds_is_refused_with_the_limit(asked: object) -> None:
    """More than the backend gives, nothing, or no number at all."""
    found = TARIFF.quote(Ask(requested={"cpu_s": asked}))
    assert isinstance(found, Refusal)
    assert found.kind.code == "bad_request_body"
    assert found.numbers == {"field": "cpu_s", "limit": 60}


@pytest.mark.parametrize(("field", "limit"), [("memory_mib", 2_048), ("duration_s", 120)])
def test_every_bound_is_kept(field: str, limit: int) -> None:
    """Memory and wall time are refused as CPU time is; the limit itself is allowed."""
    found = TARIFF.quote(Ask(requested={field: limit + 1}))
    assert isinstance(found, Refusal)
    assert found.numbers == {"field": field, "limit": limit}
    assert quoted(TARIFF, **{field: limit}) == quoted(TARIFF)


def test_the_providers_cost_stands_beside_the_price() -> None:
    """1 000 000 + 1.5 x 200 000 + 1.5 x 100 000 = 1 450 000, times 1.1; less is marked."""
    marked_up = DurationTariff(own=None, provider=PROVIDER, markup_ppm=1_100_000)
    found = cost_of(marked_up, RUN)
    assert (found.price_nanos, found.provider_cost_nanos) == (1_595_000, 1_450_000)
    assert found.formula.endswith(" x markup 1.1 = 1595000 nano-USD; provider's cost 1450000")
    cheap = DurationRates(base_nanos=1, nanos_per_cpu_s=0, nanos_per_gb_s=0)
    below = cost_of(replace(marked_up, own=cheap), RUN)
    assert (below.price_nanos, below.review) == (1, "price_below_cost")


def test_a_run_above_the_bounds_is_billed_in_full() -> None:
    """100 s of CPU where 60 were held: 2 000 000 + 100 x 500 000."""
    found = cost_of(TARIFF, Usage(cpu_ms=100_000, memory_mib=0, duration_ms=0))
    assert (found.price_nanos, found.review) == (52_000_000, "")


def test_nothing_beyond_the_ledger_leaves_the_meter() -> None:
    """A quote beyond ``MAX_NANOS`` is refused, a cost beyond it is no usable usage."""
    tariff = replace(TARIFF, own=replace(DEFAULT_RATES, nanos_per_cpu_s=MAX_NANOS))
    found = tariff.quote(Ask())
    assert isinstance(found, Refusal)
    assert found.kind.code == "request_too_expensive"
    assert isinstance(tariff.cost({}, replace_fields(RUN, cpu_ms=10_000)), NoUsage)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DurationTariff(own=None),
        lambda: replace(TARIFF, markup_ppm=0),
        lambda: replace(TARIFF, max_cpu_s=0),
        lambda: replace(TARIFF, max_memory_mib=-1),
        lambda: replace(TARIFF, typical_duration_s=-1),
        lambda: replace(PROVIDER, base_nanos=-1),
        lambda: replace(PROVIDER, nanos_per_gb_s=HALF),
    ],
)
def test_a_tariff_that_cannot_price_is_not_made(make: Callable[[], object]) -> None:
    """Wrong settings are found when they are read, not when a request comes."""
    with pytest.raises(ConfigError):
        make()


PRICES = st.integers(0, 10**9)
RATES = st.builds(DurationRates, base_nanos=PRICES, nanos_per_cpu_s=PRICES, nanos_per_gb_s=PRICES)
TARIFFS = st.builds(
    DurationTariff,
    own=st.none() | RATES,
    provider=RATES,
    markup_ppm=st.integers(1, 5_000_000),
    max_cpu_s=st.integers(1, 100),
    max_memory_mib=st.integers(1, 10_000),
    max_duration_s=st.integers(1, 100),
    typical_cpu_s=st.integers(0, 200),
)
THOUSANDTHS = st.integers(0, 1_000)


def run_of(cpu: int, memory: int, wall: int, tariff: DurationTariff) -> Usage:
    """A run that takes so many thousandths of each bound, the fractions written as text."""
    mib, thousandths = divmod(tariff.max_memory_mib * memory, 1_000)
    return Usage(
        cpu_ms=str(tariff.max_cpu_s * cpu),
        memory_mib=f"{mib}.{thousandths:03}",
        duration_ms=tariff.max_duration_s * wall,
    )


@given(tariff=TARIFFS, cpu=THOUSANDTHS, memory=THOUSANDTHS, wall=THOUSANDTHS)
def test_no_run_within_the_bounds_costs_more_than_the_most(
    tariff: DurationTariff, cpu: int, memory: int, wall: int
) -> None:
    """Any run within the bounds costs at most the hold; re-rating gives the same."""
    quote = quoted(tariff)
    usage = run_of(cpu, memory, wall, tariff)
    cost = cost_of(tariff, usage)
    assert quote.min_nanos <= cost.price_nanos <= quote.max_nanos
    assert quote.min_units <= cost.units <= quote.max_units
    assert tariff.cost({}, usage) == cost


@given(tariff=TARIFFS, cpu=THOUSANDTHS, memory=THOUSANDTHS, wall=THOUSANDTHS)
def test_amounts_are_the_exact_ones_rounded_up(
    tariff: DurationTariff, cpu: int, memory: int, wall: int
) -> None:
    """Price and provider's cost lie less than one nano-USD above the exact fractions."""
    cpu_s = Fraction(tariff.max_cpu_s * cpu, 1_000)
    gb_s = Fraction(tariff.max_memory_mib * memory, 1_024_000) * Fraction(
        tariff.max_duration_s * wall, 1_000
    )
    found = cost_of(tariff, run_of(cpu, memory, wall, tariff))
    assert tariff.provider is not None
    provider = exact(tariff.provider, cpu_s, gb_s)
    markup = Fraction(tariff.markup_ppm, 10**6)
    price = provider * markup if tariff.own is None else exact(tariff.own, cpu_s, gb_s)
    assert 0 <= found.price_nanos - price < 1
    assert found.provider_cost_nanos is not None
    assert 0 <= found.provider_cost_nanos - provider < 1


def exact(side: DurationRates, cpu_s: Fraction, gb_s: Fraction) -> Fraction:
    """What one side takes, without rounding."""
    return side.base_nanos + cpu_s * side.nanos_per_cpu_s + gb_s * side.nanos_per_gb_s


@given(tariff=TARIFFS, less=st.integers(1, 100), more=st.integers(0, 1_000))
def test_more_never_costs_less(tariff: DurationTariff, less: int, more: int) -> None:
    """A longer run is never cheaper, a larger request never held for less."""
    short = Usage(cpu_ms=less, memory_mib=less, duration_ms=less)
    long = Usage(cpu_ms=less + more, memory_mib=less + more, duration_ms=less + more)
    assert cost_of(tariff, short).price_nanos <= cost_of(tariff, long).price_nanos
    assert cost_of(tariff, short).units <= cost_of(tariff, long).units
    asked = min(less, tariff.max_cpu_s)
    assert quoted(tariff, cpu_s=asked).max_nanos <= quoted(tariff).max_nanos
