"""The meter of requests that all cost the same."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import ConfigError
from billing.meters.flat import FlatTariff
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS, NANOS_PER_CREDIT
from billing.refusals import Refusal


def test_a_request_costs_what_the_tariff_says() -> None:
    """1 credit and 1 unit, at least, typically, at most and in the end."""
    tariff = FlatTariff(nanos_per_request=NANOS_PER_CREDIT)
    assert tariff.quote(Ask()) == Quote(1_000_000, 1_000_000, 1_000_000, 1, 1, 1, {})
    assert tariff.cost({}, Usage()) == Cost(
        1_000_000, None, 1, "1 request x 1000000 = 1000000 nano-USD"
    )


def test_nothing_of_the_request_or_the_answer_matters() -> None:
    """Absurd numbers do not change a flat price."""
    tariff = FlatTariff(nanos_per_request=5)
    assert tariff.quote(Ask(model=3, max_output_tokens=-1)) == tariff.quote(Ask())
    assert tariff.cost({"x": 1}, Usage(input_tokens=-1, cut_short=True)) == tariff.cost({}, Usage())


@pytest.mark.parametrize(
    ("own", "provider", "markup_ppm", "price_nanos", "review"),
    [
        (None, 10, 1_000_000, 10, ""),
        (None, 10, 1_250_000, 13, ""),
        (None, 10, 900_000, 9, "price_below_cost"),
        (12, 10, 5_000_000, 12, ""),
        (10, 10, 1_000_000, 10, ""),
        (9, 10, 1_000_000, 9, "price_below_cost"),
        (0, 0, 1_000_000, 0, ""),
    ],
)
def test_own_price_or_provider_times_markup(
    own: int | None, provider: int, markup_ppm: int, price_nanos: int, review: str
) -> None:
    """10 x 1.25 = 12.5 is 13; an own price goes before; below the provider's 10 is marked."""
    tariff = FlatTariff(
        nanos_per_request=own, provider_nanos_per_request=provider, markup_ppm=markup_ppm
    )
    found = tariff.cost({}, Usage())
    assert isinstance(found, Cost)
    amounts = (found.price_nanos, found.provider_cost_nanos, found.review)
    assert amounts == (price_nanos, provider, review)


def test_nothing_beyond_the_ledger_leaves_the_meter() -> None:
    """A markup cannot lift a price beyond ``MAX_NANOS``."""
    tariff = FlatTariff(provider_nanos_per_request=MAX_NANOS, markup_ppm=2_000_000)
    found = tariff.quote(Ask())
    assert isinstance(found, Refusal)
    assert found.kind.code == "request_too_expensive"
    assert isinstance(tariff.cost({}, Usage()), NoUsage)


@pytest.mark.parametrize(
    "make",
    [
        FlatTariff,
        lambda: FlatTariff(nanos_per_request=-1),
        lambda: FlatTariff(nanos_per_request=True),
        lambda: FlatTariff(provider_nanos_per_request=MAX_NANOS + 1),
        lambda: FlatTariff(nanos_per_request=1, markup_ppm=0),
    ],
)
def test_a_tariff_that_cannot_price_is_not_made(make: Callable[[], object]) -> None:
    """Wrong settings are found when they are read, not when a request comes."""
    with pytest.raises(ConfigError):
        make()


@given(
    own=st.none() | st.integers(0, 10**12),
    provider=st.integers(0, 10**12),
    markup_ppm=st.integers(1, 10**7),
)
def test_the_quote_is_the_cost(own: int | None, provider: int, markup_ppm: int) -> None:
    """Least, typical, most and cost are one number, in each rating."""
    tariff = FlatTariff(
        nanos_per_request=own, provider_nanos_per_request=provider, markup_ppm=markup_ppm
    )
    quote, cost = tariff.quote(Ask()), tariff.cost({}, Usage())
    assert isinstance(quote, Quote)
    assert isinstance(cost, Cost)
    assert {quote.min_nanos, quote.typical_nanos, quote.max_nanos} == {cost.price_nanos}
    assert cost == tariff.cost({}, Usage())
