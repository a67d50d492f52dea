"""The meter of LLM requests: what holds for every tariff, request and usage."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from billing.meters.tokens import ModelPrice, TokenRates, TokenTariff
from billing.meters.values import Ask, Usage
from tests.unit.billing.metering import cost_of, quoted
from tests.unit.billing.test_meters_tokens import tariff_of

PRICES = st.integers(0, 10**12)
RATES = st.builds(
    TokenRates,
    input_nanos_per_mtok=PRICES,
    output_nanos_per_mtok=PRICES,
    cached_input_nanos_per_mtok=st.none() | PRICES,
)
MODELS = st.builds(
    ModelPrice,
    max_output_tokens=st.integers(1, 10_000),
    own=st.none() | RATES,
    provider=RATES,
    typical_output_tokens=st.integers(0, 20_000),
    max_input_tokens=st.none() | st.integers(1, 10_000),
)
TARIFFS = st.builds(tariff_of, MODELS, st.integers(1, 5_000_000))
ASKS = st.builds(Ask, body_bytes=st.integers(1, 10**6), model=st.just("mini"))


@given(tariff=TARIFFS, ask=ASKS, choices=st.integers(1, 128), data=st.data())
def test_no_usage_within_the_quote_costs_more_than_its_most(
    tariff: TokenTariff, ask: Ask, choices: int, data: st.DataObject
) -> None:
    """Any counts within the quoted bounds cost at most the hold; re-rating gives the same."""
    quote = quoted(tariff, replace(ask, choices=choices))
    output_bound = tariff.models["mini"].max_output_tokens * choices
    output = data.draw(st.integers(0, output_bound))
    input_tokens = data.draw(st.integers(1, quote.max_units - output_bound))
    cached = data.draw(st.integers(0, input_tokens))
    usage = Usage(input_tokens=input_tokens, cached_tokens=cached, output_tokens=output)
    cost = cost_of(tariff, dict(quote.basis), usage)
    assert quote.min_nanos <= cost.price_nanos <= quote.max_nanos
    assert quote.min_units <= cost.units <= quote.max_units
    assert tariff.cost(quote.basis, usage) == cost


@given(tariff=TARIFFS, counts=st.tuples(*[st.integers(0, 10**7)] * 3))
def test_amounts_are_the_exact_ones_rounded_up(
    tariff: TokenTariff, counts: tuple[int, int, int]
) -> None:
    """Price and provider's cost lie less than one nano-USD above the exact fractions."""
    plain, cached, output = counts
    usage = Usage(input_tokens=plain + cached, cached_tokens=cached, output_tokens=output)
    found = cost_of(tariff, {"model": "mini"}, usage)
    model = tariff.models["mini"]
    assert model.provider is not None
    provider = exact(model.provider, counts)
    markup = Fraction(tariff.markup_ppm, 1_000_000)
    price = provider * markup if model.own is None else exact(model.own, counts)
    assert 0 <= found.price_nanos - price < 1
    assert found.provider_cost_nanos is not None
    assert 0 <= found.provider_cost_nanos - provider < 1


def exact(side: TokenRates, counts: tuple[int, int, int]) -> Fraction:
    """What one side takes for plain input, cached input and output, without rounding."""
    plain, cached, output = (Fraction(count, 1_000_000) for count in counts)
    cached_nanos = side.cached_input_nanos_per_mtok
    return (
        plain * side.input_nanos_per_mtok
        + cached * (side.input_nanos_per_mtok if cached_nanos is None else cached_nanos)
        + output * side.output_nanos_per_mtok
    )


@given(tariff=TARIFFS, ask=ASKS, more=st.integers(0, 1_000))
def test_asking_for_more_never_costs_less(tariff: TokenTariff, ask: Ask, more: int) -> None:
    """A longer body is never quoted lower, a longer answer never billed lower."""
    quote, longer = (
        quoted(tariff, ask),
        quoted(tariff, replace(ask, body_bytes=ask.body_bytes + more)),
    )
    assert quote.max_nanos <= longer.max_nanos
    assert quote.typical_nanos <= longer.typical_nanos
    basis = dict(quote.basis)
    short = cost_of(tariff, basis, Usage(input_tokens=5, output_tokens=5))
    long = cost_of(tariff, basis, Usage(input_tokens=5, output_tokens=5 + more))
    assert short.price_nanos <= long.price_nanos
    assert short.units <= long.units
