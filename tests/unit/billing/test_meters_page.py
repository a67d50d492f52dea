"""The worked numbers of docs/pricing.md are what the meters answer."""

from pathlib import Path

import pytest

from billing.meters.compute_units import ComputeUnitTariff
from billing.meters.duration import DurationTariff
from billing.meters.flat import FlatTariff
from billing.meters.reported import ReportedTariff
from billing.meters.tokens import ModelPrice, TokenRates, TokenTariff
from billing.meters.values import Ask, Cost, Quote, Tariff, Usage

PAGE = Path(__file__).parents[3] / "docs" / "pricing.md"
MINI = "gpt-4o-mini"
BATCH = {"eth_call": 2, "eth_getLogs": 1}

TOKENS = TokenTariff(
    {
        MINI: ModelPrice(
            max_output_tokens=16_384,
            provider=TokenRates(
                input_nanos_per_mtok=150_000_000,
                cached_input_nanos_per_mtok=75_000_000,
                output_nanos_per_mtok=600_000_000,
            ),
        )
    },
    markup_ppm=2_000_000,
)
COMPUTE_UNITS = ComputeUnitTariff(
    methods={"eth_call": 1_500, "eth_getLogs": 2_000}, nanos_per_cu=10_000
)
REPORTED = ReportedTariff(typical_nanos=0, max_nanos=0, markup_ppm=2_000_000)
TICKET: dict[str, object] = {"model": MINI, "input": 1_000, "max_output": 1_000, "n": 1}


def lines() -> list[str]:
    """The lines of the page's code blocks."""
    blocks = PAGE.read_text(encoding="utf-8").split("```")[1::2]
    return [line for block in blocks for line in block.splitlines()]


COSTS: list[tuple[Tariff, dict[str, object], Usage]] = [
    (TOKENS, TICKET, Usage(input_tokens=1_000, cached_tokens=200, output_tokens=300)),
    (TOKENS, TICKET, Usage(response_bytes=2_001, cut_short=True)),
    (COMPUTE_UNITS, {"calls": {"eth_call": 1}}, Usage(response_bytes=500)),
    (COMPUTE_UNITS, {"calls": {"eth_call": 1}}, Usage(response_bytes=1_536)),
    (COMPUTE_UNITS, {"calls": BATCH}, Usage(response_bytes=6_144)),
    (DurationTariff(), {}, Usage(cpu_ms=1_500, memory_mib=512, duration_ms=3_000)),
    (FlatTariff(nanos_per_request=1_000_000), {}, Usage()),
    (REPORTED, {}, Usage(reported_cost="1.5e-05")),
]
QUOTES: list[tuple[Tariff, Ask]] = [
    (TOKENS, Ask(body_bytes=4_000, model=MINI, max_output_tokens=1_000, choices=2)),
    (COMPUTE_UNITS, Ask(body_bytes=300, calls=BATCH)),
    (DurationTariff(), Ask()),
]


@pytest.mark.parametrize(("tariff", "basis", "usage"), COSTS)
def test_every_worked_cost_is_on_the_page(
    tariff: Tariff, basis: dict[str, object], usage: Usage
) -> None:
    """The formula of each example stands there as ``tollkeeper explain`` prints it."""
    cost = tariff.cost(basis, usage)
    assert isinstance(cost, Cost)
    assert cost.formula in lines()


@pytest.mark.parametrize(("tariff", "ask"), QUOTES)
def test_every_worked_quote_is_on_the_page(tariff: Tariff, ask: Ask) -> None:
    """The three prices and the three units of each example."""
    quote = tariff.quote(ask)
    assert isinstance(quote, Quote)
    nanos = f"least {quote.min_nanos}, typically {quote.typical_nanos}, most {quote.max_nanos}"
    units = f"{quote.min_units}, {quote.typical_units}, {quote.max_units} units"
    assert f"{nanos} nano-USD; {units}" in lines()


def test_no_other_number_is_on_the_page() -> None:
    """Each result on the page belongs to an example that is worked out here."""
    results = [line for line in lines() if "nano-USD" in line]
    assert len(results) == len(COSTS) + len(QUOTES)
