"""The meter of upstreams that name their own cost, against numbers worked out by hand."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replace_fields

from billing.errors import ConfigError
from billing.meters.reported import ReportedTariff
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS, NANOS_PER_USD
from tests.unit.billing import metering

TARIFF = ReportedTariff(
    min_nanos=1_000, typical_nanos=500_000, max_nanos=50_000_000, markup_ppm=2_000_000
)
HALF: Any = 0.5  # what YAML may hold and types would not let through
USAGE = Usage()


def cost_of(tariff: ReportedTariff, reported: str, usage: Usage = USAGE) -> Cost:
    """The cost of an answer with that header."""
    return metering.cost_of(tariff, {}, replace_fields(usage, reported_cost=reported))


@pytest.mark.parametrize(
    ("reported", "price_nanos", "provider_cost_nanos"),
    [
        ("0.000415", 830_000, 415_000),
        ("1.5e-05", 30_000, 15_000),
        ("1.5E-5", 30_000, 15_000),
        ("2", 4_000_000_000, 2_000_000_000),
        ("1e2", 200_000_000_000, 100_000_000_000),
        (" 0.01 ", 20_000_000, 10_000_000),
        ("0.0", 0, 0),
        ("0", 0, 0),
        ("-0.0", 0, 0),
        ("0.0000000015", 3, 2),
        ("1e-10", 1, 1),
        ("0.00012345678901234567", 246_914, 123_457),
    ],
)
def test_the_header_is_read_digit_by_digit(
    reported: str, price_nanos: int, provider_cost_nanos: int
) -> None:
    """USD as text, exponents too, times 2; 1.5 nano-USD are 2 of cost and 3 of price."""
    found = cost_of(TARIFF, reported)
    assert (found.price_nanos, found.provider_cost_nanos) == (price_nanos, provider_cost_nanos)
    assert (found.units, found.review) == (1, "")


def test_digits_below_a_nano_are_rounded_once() -> None:
    """0.1 nano-USD with a markup of 15 is 1.5, rounded to 2; rounding the cost first made 15."""
    found = cost_of(replace(TARIFF, markup_ppm=15_000_000), "0.0000000001")
    assert (found.price_nanos, found.provider_cost_nanos) == (2, 1)


def test_a_formula_names_its_numbers() -> None:
    """The cost is shown as it was reported."""
    assert cost_of(TARIFF, "1.5e-05").formula == (
        "0.000015 USD reported x 1000000000 x markup 2 = 30000 nano-USD; provider's cost 15000"
    )


@pytest.mark.parametrize(
    ("reported", "reason"),
    [
        (None, "reported cost missing"),
        ("", "reported cost is not a decimal number"),
        ("None", "reported cost is not a decimal number"),
        ("nan", "reported cost is not a decimal number"),
        ("inf", "reported cost is not a decimal number"),
        ("1_000", "reported cost is not a decimal number"),
        ("1,5", "reported cost is not a decimal number"),
        ("$1", "reported cost is not a decimal number"),
        ("0x10", "reported cost is not a decimal number"),
        ("\u0660.\u0665", "reported cost is not a decimal number"),
        ("0.1, 0.2", "reported cost is not a decimal number"),
        ("1e-100", "reported cost is not a decimal number"),
        ("9" * 21, "reported cost is not a decimal number"),
        ("-0.01", "reported cost is negative"),
        ("1e99", "reported cost is above 9007199254740992"),
        ("1000.000000001", "reported cost is above 1000.000000000 USD"),
    ],
)
def test_an_unusable_header_is_never_priced(reported: str | None, reason: str) -> None:
    """Missing, negative, not a number, or absurd: a person looks, nobody is charged."""
    assert TARIFF.cost({}, Usage(reported_cost=reported)) == NoUsage(reason)


def test_the_highest_believed_cost_is_a_setting() -> None:
    """Exactly the limit is believed, a tenth of a nano-USD above it is not."""
    tariff = replace(TARIFF, max_reported_nanos=NANOS_PER_USD)
    assert cost_of(tariff, "1.0").price_nanos == 2_000_000_000
    assert isinstance(tariff.cost({}, Usage(reported_cost="1.0000000001")), NoUsage)


@pytest.mark.parametrize(
    ("usage", "units", "review"),
    [
        (Usage(input_tokens=10, output_tokens=5), 15, ""),
        (Usage(input_tokens=10.0), 10, ""),
        (Usage(output_tokens=5), 5, ""),
        (Usage(input_tokens=0, output_tokens=0), 1, ""),
        (Usage(input_tokens=-1, output_tokens=5), 1, "unreadable_tokens"),
        (Usage(output_tokens="5"), 1, "unreadable_tokens"),
    ],
)
def test_units_are_tokens_where_they_are_given(usage: Usage, units: int, review: str) -> None:
    """The price stands whatever the tokens say; unreadable ones are left to a person."""
    found = cost_of(TARIFF, "0.000001", usage)
    assert (found.price_nanos, found.units, found.review) == (2_000, units, review)


def test_a_quote_is_what_the_tariff_says() -> None:
    """Nothing of the request bounds what an upstream will report."""
    tariff = replace(TARIFF, typical_units=400, max_units=9_000)
    quote = Quote(1_000, 500_000, 50_000_000, 1, 400, 9_000, {})
    assert tariff.quote(Ask()) == quote
    assert tariff.quote(Ask(model=3, max_output_tokens=-1)) == quote


def test_a_quote_may_be_nothing() -> None:
    """Where nothing is held in advance, in credits or in quota."""
    tariff = ReportedTariff(typical_nanos=0, max_nanos=0, min_units=0, typical_units=0)
    assert tariff.quote(Ask()) == Quote(0, 0, 0, 0, 0, 1, {})


def test_a_markup_below_one_is_marked() -> None:
    """Selling at nine tenths of the cost is for a person to see."""
    found = cost_of(replace(TARIFF, markup_ppm=900_000), "0.000001")
    assert (found.price_nanos, found.review) == (900, "price_below_cost")


def test_nothing_beyond_the_ledger_leaves_the_meter() -> None:
    """A cost that is believed but, with its markup, does not fit is no usable usage."""
    tariff = replace(TARIFF, max_reported_nanos=MAX_NANOS)
    found = tariff.cost({}, Usage(reported_cost="4000000000"))
    assert found == NoUsage("the usage costs more than the ledger can hold")


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(TARIFF, min_nanos=500_001),
        lambda: replace(TARIFF, typical_nanos=50_000_001),
        lambda: replace(TARIFF, max_nanos=MAX_NANOS + 1),
        lambda: replace(TARIFF, min_nanos=-1),
        lambda: replace(TARIFF, typical_nanos=HALF),
        lambda: replace(TARIFF, min_units=2),
        lambda: replace(TARIFF, typical_units=2),
        lambda: replace(TARIFF, markup_ppm=0),
        lambda: replace(TARIFF, max_reported_nanos=-1),
    ],
)
def test_a_tariff_that_cannot_price_is_not_made(make: Callable[[], object]) -> None:
    """Wrong settings are found when they are read, not when a request comes."""
    with pytest.raises(ConfigError):
        make()


DECIMALS = st.decimals(0, 900, allow_nan=False, allow_infinity=False, places=20)


@given(usd=DECIMALS, markup_ppm=st.integers(1, 10**7))
def test_amounts_are_the_exact_ones_rounded_up(usd: Decimal, markup_ppm: int) -> None:
    """Price and cost lie less than one nano-USD above the exact ones; re-rating gives the same."""
    text = f"{usd:.20f}"
    tariff = replace(TARIFF, markup_ppm=markup_ppm)
    found = cost_of(tariff, text)
    exact = Fraction(text) * NANOS_PER_USD
    assert found.provider_cost_nanos is not None
    assert 0 <= found.provider_cost_nanos - exact < 1
    assert 0 <= found.price_nanos - exact * Fraction(markup_ppm, 10**6) < 1
    assert cost_of(tariff, text) == found


@given(cost=st.floats(0, 900))
def test_a_cost_that_python_wrote_is_read_as_python_wrote_it(cost: float) -> None:
    """``str`` of any double that is a cost can be read, exponent or not, and is never lost."""
    text = str(cost) if cost == 0 or cost > 1e-90 else "0.0"
    found = cost_of(TARIFF, text)
    assert 0 <= found.price_nanos - 2 * Fraction(text) * NANOS_PER_USD < 1


@given(reports=st.lists(DECIMALS, min_size=2, max_size=2).map(sorted))
def test_more_never_costs_less(reports: list[Decimal]) -> None:
    """A higher report is never a lower price."""
    low, high = (cost_of(TARIFF, f"{usd:.20f}") for usd in reports)
    assert low.price_nanos <= high.price_nanos
