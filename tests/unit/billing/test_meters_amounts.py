"""Price and provider's cost of one request, exact until the one rounding."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import ConfigError
from billing.meters.amounts import (
    MAX_MARKUP_PPM,
    MAX_UNITS,
    ExactAmount,
    check_markup,
    check_price,
    check_setting,
    check_sides,
    make_cost,
    make_quote,
)
from billing.meters.values import Cost, NoUsage, Quote
from billing.money import MAX_NANOS
from billing.refusals import Refusal

BEYOND = NoUsage("the usage costs more than the ledger can hold")


def own(amount_nanos: int) -> ExactAmount:
    """An amount that the book names itself."""
    return ExactAmount(own=amount_nanos, provider=None)


@given(
    provider=st.integers(0, 10**15),
    denominator=st.integers(1, 10**9),
    markup_ppm=st.integers(1, MAX_MARKUP_PPM),
)
def test_markup_applies_before_the_rounding(
    provider: int, denominator: int, markup_ppm: int
) -> None:
    """The price is the exact cost times the markup, rounded up; so is the cost, on its own."""
    amount = ExactAmount(None, provider, denominator, markup_ppm)
    exact = Fraction(provider, denominator)
    cost_nanos = amount.provider_cost_nanos()
    assert cost_nanos is not None
    assert 0 <= cost_nanos - exact < 1
    assert 0 <= amount.price_nanos() - exact * Fraction(markup_ppm, 10**6) < 1


@given(provider=st.integers(0, 10**15), denominator=st.integers(1, 10**9), data=st.data())
def test_a_markup_of_one_or_more_never_needs_review(
    provider: int, denominator: int, data: st.DataObject
) -> None:
    """Rounding alone never makes a price fall below its cost."""
    markup_ppm = data.draw(st.integers(1_000_000, MAX_MARKUP_PPM))
    found = make_cost(ExactAmount(None, provider, denominator, markup_ppm), 1, "work")
    assert found == BEYOND or (isinstance(found, Cost) and found.review == "")


def test_a_formula_ends_with_its_result() -> None:
    """Work, markup where it applies, price, and the provider's cost where it is known."""
    assert make_cost(own(7), 3, "7 x 1") == Cost(7, None, 3, "7 x 1 = 7 nano-USD")
    both = make_cost(ExactAmount(7, 9), 3, "7 x 1", "late")
    formula = "7 x 1 = 7 nano-USD; provider's cost 9"
    assert both == Cost(7, 9, 3, formula, "late, price_below_cost")
    marked_up = make_cost(ExactAmount(None, 4, 1, 1_750_000), 3, "4 x 1")
    assert marked_up == Cost(7, 4, 3, "4 x 1 x markup 1.75 = 7 nano-USD; provider's cost 4")


@pytest.mark.parametrize(
    ("amount", "units"),
    [
        (own(MAX_NANOS + 1), 1),
        (ExactAmount(1, MAX_NANOS + 1), 1),
        (ExactAmount(None, MAX_NANOS, 1, 1_000_001), 1),
        (own(1), MAX_UNITS + 1),
    ],
)
def test_a_cost_beyond_the_ledger_is_no_usage(amount: ExactAmount, units: int) -> None:
    """Price, provider's cost and units each have their bound."""
    assert make_cost(amount, units, "") == BEYOND


def test_the_bounds_themselves_are_held() -> None:
    """``MAX_NANOS`` and ``MAX_UNITS`` fit; a quote just beyond them is refused."""
    assert MAX_UNITS == 2**62
    largest = own(MAX_NANOS)
    cost = make_cost(ExactAmount(MAX_NANOS, MAX_NANOS), MAX_UNITS, "")
    assert isinstance(cost, Cost)
    quote = make_quote(own(0), own(1), largest, (0, 1, MAX_UNITS), {"a": 1})
    assert quote == Quote(0, 1, MAX_NANOS, 0, 1, MAX_UNITS, {"a": 1})
    for beyond in (
        make_quote(own(0), own(1), own(MAX_NANOS + 1), (0, 1, 1), {}),
        make_quote(own(0), own(1), largest, (0, 1, MAX_UNITS + 1), {}),
    ):
        assert isinstance(beyond, Refusal)
        assert beyond.kind.code == "request_too_expensive"


@pytest.mark.parametrize("value", [0, 10])
def test_a_setting_within_its_bounds_passes(value: int) -> None:
    """Both bounds are part of the range; a price may be left out."""
    check_setting("x", value, 0, 10)
    check_price("x", None)
    check_sides("x", None, value)
    check_markup(MAX_MARKUP_PPM)
    with pytest.raises(ConfigError, match="x must be a whole number from 1 to 9, not"):
        check_setting("x", value, 1, 9)


@pytest.mark.parametrize("value", [-1, 11, True, "5", 5.0, None])
def test_other_settings_are_faults_of_the_configuration(value: object) -> None:
    """Below, above, bools, text, doubles and nothing; the message names the setting."""
    with pytest.raises(ConfigError, match=r"^x must be a whole number from 0 to 10, not "):
        check_setting("x", value, 0, 10)


def test_one_side_is_needed() -> None:
    """Neither an own price nor the provider's is no price."""
    with pytest.raises(ConfigError, match="the model has neither a price of its own nor"):
        check_sides("the model", None, None)


@pytest.mark.parametrize("markup_ppm", [0, -1, MAX_MARKUP_PPM + 1, 1.5])
def test_a_markup_lies_above_zero_and_up_to_a_thousand(markup_ppm: object) -> None:
    """Parts per million, whole."""
    with pytest.raises(ConfigError, match="markup_ppm"):
        check_markup(markup_ppm)
