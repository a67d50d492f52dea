"""The meter of LLM requests, against numbers worked out by hand.

Most tests use one model: the provider takes 0.15, 0.075 and 0.60 USD per million tokens of input,
cached input and output, that is 150, 75 and 600 nano-USD a token; the markup is 2.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as replace_fields

from billing.errors import ConfigError
from billing.meters.tokens import ModelPrice, TokenRates, TokenTariff
from billing.meters.values import Ask, NoUsage, Usage
from billing.money import MAX_NANOS
from tests.unit.billing.metering import cost_of, quoted, refused

PROVIDER = TokenRates(
    input_nanos_per_mtok=150_000_000,
    cached_input_nanos_per_mtok=75_000_000,
    output_nanos_per_mtok=600_000_000,
)
MODEL = ModelPrice(max_output_tokens=16_384, provider=PROVIDER)
TARIFF = TokenTariff({"mini": MODEL}, markup_ppm=2_000_000)
ASK = Ask(body_bytes=4_000, model="mini", max_output_tokens=1_000)
BASIS = {"model": "mini", "input": 1_000, "max_output": 1_000, "n": 1}
USAGE = Usage(input_tokens=1_000, cached_tokens=200, output_tokens=300)
HALF: Any = 0.5  # what YAML may hold and types would not let through


def tariff_of(model: ModelPrice, markup_ppm: int = 1_000_000) -> TokenTariff:
    """A tariff of one model, named ``mini``."""
    return TokenTariff({"mini": model}, markup_ppm=markup_ppm)


def rates(per_mtok_nanos: int) -> TokenRates:
    """The same price for every token."""
    return TokenRates(input_nanos_per_mtok=per_mtok_nanos, output_nanos_per_mtok=per_mtok_nanos)


def test_a_quote_goes_by_body_limit_and_choices() -> None:
    """4 000 bytes, 1 000 tokens, 2 choices, markup 2.

    Least: 1 cached token = 75 x 2. Typically: (1 000 x 150 + 2 x 500 x 600) x 2 = 750 000 x 2.
    Most: (4 000 x 150 + 2 x 1 000 x 600) x 2 = 1 800 000 x 2.
    """
    found = quoted(TARIFF, replace(ASK, choices=2))
    assert (found.min_nanos, found.typical_nanos, found.max_nanos) == (150, 1_500_000, 3_600_000)
    assert (found.min_units, found.typical_units, found.max_units) == (1, 2_000, 6_000)
    assert found.basis == {"model": "mini", "input": 1_000, "max_output": 1_000, "n": 2}


def test_max_tokens_left_out_is_held_at_the_models_limit() -> None:
    """(4 000 x 150 + 16 384 x 600) x 2 = (600 000 + 9 830 400) x 2."""
    found = quoted(TARIFF, replace(ASK, max_output_tokens=None))
    assert found.max_nanos == 20_860_800
    assert found.basis["max_output"] == 16_384


def test_numbers_may_come_as_doubles() -> None:
    """Envoy hands JSON numbers on as doubles: 1000.0 and 2.0 quote as 1000 and 2."""
    doubles = replace(ASK, max_output_tokens=1000.0, choices=2.0)
    assert quoted(TARIFF, doubles) == quoted(TARIFF, replace(ASK, choices=2))


@pytest.mark.parametrize(
    "asked", ["1000", True, -1, 0, 0.0, 1.5, float("nan"), float("inf"), 16_385, 1e308, [1], {}]
)
def test_an_absurd_max_tokens_is_refused_with_its_limit(asked: object) -> None:
    """Text, bools, fractions, zero, negative numbers and more than the model's limit."""
    found = refused(TARIFF, replace(ASK, max_output_tokens=asked))
    assert found.kind.code == "bad_request_body"
    assert found.numbers == {"field": "max_tokens", "limit": 16_384}


@pytest.mark.parametrize("asked", ["2", False, 0, -1, 129, 2.5, float("nan")])
def test_an_absurd_n_is_refused_with_its_limit(asked: object) -> None:
    """Choices are from 1 to 128."""
    found = refused(TARIFF, replace(ASK, choices=asked))
    assert (found.kind.code, dict(found.numbers)) == (
        "bad_request_body",
        {"field": "n", "limit": 128},
    )


@pytest.mark.parametrize("model", [None, 7, ["mini"], True])
def test_a_model_that_is_no_text_is_refused(model: object) -> None:
    """Nothing can be looked up by a number, a list, or nothing."""
    assert refused(TARIFF, replace(ASK, model=model)).kind.code == "bad_request_body"


def test_an_unknown_model_is_refused_by_its_name() -> None:
    """The answer repeats the name: short, in ASCII, without control characters."""
    found = refused(TARIFF, replace(ASK, model="\x1bgrün" + "x" * 500))
    assert found.kind.code == "unknown_model"
    assert found.numbers == {"model": "\\x1bgr\\xfcn" + "x" * 59}


def test_a_body_of_unknown_length_needs_the_context_window() -> None:
    """Without a length the hold is the window: (128 000 x 150 + 1 000 x 600) x 2; else refused."""
    unknown = replace(ASK, body_bytes=0)
    assert refused(TARIFF, unknown).kind.code == "bad_request_body"
    windowed = tariff_of(replace(MODEL, max_input_tokens=128_000), markup_ppm=2_000_000)
    found = quoted(windowed, unknown)
    assert found.max_nanos == 39_600_000
    assert found.basis["input"] == 0


def test_a_large_body_is_held_at_the_context_window() -> None:
    """1 MB cannot be more than the window's 1 000 tokens: (1 000 x 150 + 1 000 x 600) x 2."""
    windowed = tariff_of(replace(MODEL, max_input_tokens=1_000), markup_ppm=2_000_000)
    assert quoted(windowed, replace(ASK, body_bytes=1_000_000)).max_nanos == 1_500_000


def test_the_hold_covers_a_cache_that_is_dearer() -> None:
    """Where cached input costs 200 and other input 150, 4 000 x 200 + 1 000 x 600 is the most."""
    dear = replace(PROVIDER, cached_input_nanos_per_mtok=200_000_000)
    found = quoted(tariff_of(replace(MODEL, provider=dear)), ASK)
    assert (found.min_nanos, found.max_nanos) == (150, 1_400_000)


def test_a_price_beyond_the_ledger_is_refused() -> None:
    """What does not fit into the ledger is no quote."""
    found = refused(
        tariff_of(replace(MODEL, own=rates(MAX_NANOS))), replace(ASK, body_bytes=1 << 20)
    )
    assert found.kind.code == "request_too_expensive"
    assert found.numbers == {"limit_nanos": MAX_NANOS}


def test_cost_is_provider_times_markup() -> None:
    """800 x 150 + 200 x 75 + 300 x 600 = 315 000, times 2; 1 000 + 300 units."""
    found = cost_of(TARIFF, BASIS, USAGE)
    assert (found.price_nanos, found.provider_cost_nanos, found.units) == (630_000, 315_000, 1_300)
    assert found.review == ""
    assert found.formula == (
        "mini: (800 input x 150000000 + 200 cached x 75000000 + 300 output x 600000000) / 1000000"
        " x markup 2 = 630000 nano-USD; provider's cost 315000"
    )


def test_the_books_own_price_goes_before_the_markup() -> None:
    """1 300 tokens at an own 1 000 nano-USD each, whatever the markup; the cost stays known."""
    found = cost_of(tariff_of(replace(MODEL, own=rates(10**9)), 9_000_000), BASIS, USAGE)
    assert (found.price_nanos, found.provider_cost_nanos) == (1_300_000, 315_000)
    assert "markup" not in found.formula


def test_without_the_providers_prices_its_cost_is_unknown() -> None:
    """An own price alone: 1 300 x 10 nano-USD, provider's cost ``None``, nothing to review."""
    own_only = ModelPrice(max_output_tokens=10, own=rates(10**7))
    found = cost_of(tariff_of(own_only), BASIS, USAGE)
    assert (found.price_nanos, found.provider_cost_nanos, found.review) == (13_000, None, "")


def test_a_price_below_cost_is_marked() -> None:
    """1 300 x 10 = 13 000 is less than the provider's 315 000."""
    found = cost_of(tariff_of(replace(MODEL, own=rates(10**7))), BASIS, USAGE)
    assert (found.price_nanos, found.review) == (13_000, "price_below_cost")


def test_a_price_is_rounded_once() -> None:
    """One token at 10^-6 nano-USD, markup 1.5: 0.0000015 is 1; rounding the cost first made 2."""
    found = cost_of(
        tariff_of(ModelPrice(max_output_tokens=10, provider=rates(1)), 1_500_000),
        BASIS,
        Usage(input_tokens=1, output_tokens=0),
    )
    assert (found.price_nanos, found.provider_cost_nanos) == (1, 1)


def test_usage_may_come_as_doubles() -> None:
    """Envoy's metadata knows doubles only."""
    doubles = Usage(input_tokens=1000.0, cached_tokens=200.0, output_tokens=300.0)
    assert TARIFF.cost(BASIS, doubles) == TARIFF.cost(BASIS, USAGE)


def test_cached_tokens_may_be_left_out() -> None:
    """No cached tokens are none: 1 000 x 150 + 300 x 600 = 330 000, times 2."""
    assert cost_of(TARIFF, BASIS, replace_fields(USAGE, cached_tokens=None)).price_nanos == 660_000


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (replace_fields(USAGE, input_tokens=None), "input tokens missing"),
        (replace_fields(USAGE, output_tokens=None), "output tokens missing"),
        (replace_fields(USAGE, input_tokens=-1), "input tokens is negative"),
        (replace_fields(USAGE, output_tokens=-3.0), "output tokens is negative"),
        (replace_fields(USAGE, output_tokens="300"), "output tokens is not a whole number"),
        (replace_fields(USAGE, output_tokens=float("nan")), "output tokens is not a whole number"),
        (replace_fields(USAGE, output_tokens=True), "output tokens is not a whole number"),
        (replace_fields(USAGE, cached_tokens=0.5), "cached tokens is not a whole number"),
        (replace_fields(USAGE, cached_tokens=1_001), "more cached tokens than input tokens"),
        (replace_fields(USAGE, input_tokens=2**60), "input tokens is above 9007199254740992"),
        (replace_fields(USAGE, output_tokens=-1, cut_short=True), "output tokens is negative"),
    ],
)
def test_unusable_usage_is_never_priced(usage: Usage, reason: str) -> None:
    """Each bad count is named, and nothing is charged."""
    assert TARIFF.cost(BASIS, usage) == NoUsage(reason)


def test_usage_above_the_quote_is_billed_in_full() -> None:
    """5 000 tokens of output where 1 000 were held: 1 000 x 150 + 5 000 x 600, times 2."""
    found = cost_of(TARIFF, BASIS, Usage(input_tokens=1_000, output_tokens=5_000))
    assert (found.price_nanos, found.review) == (6_300_000, "")


def test_the_requests_model_prices_whatever_answers() -> None:
    """An answer under a dated name costs what the request's model costs."""
    dated = replace_fields(USAGE, model="mini-2024-07-18")
    assert TARIFF.cost(BASIS, dated) == TARIFF.cost(BASIS, USAGE)


@pytest.mark.parametrize("basis", [{}, {"model": "gone"}, {"model": 3}])
def test_a_ticket_without_a_model_of_the_tariff_has_no_cost(basis: dict[str, object]) -> None:
    """A price that is not in this version is not guessed."""
    assert TARIFF.cost(basis, USAGE) == NoUsage("the ticket names no model of this tariff")


def test_a_stream_cut_short_is_estimated_from_its_bytes() -> None:
    """2 001 bytes at 200 are 11 tokens: 1 000 x 150 + 11 x 600 = 156 600, times 2."""
    found = cost_of(TARIFF, BASIS, Usage(response_bytes=2_001, cut_short=True))
    assert (found.price_nanos, found.units) == (313_200, 1_011)
    assert found.review == "estimated_from_bytes"


def test_an_estimate_never_exceeds_what_was_allowed() -> None:
    """A megabyte of a stream that was allowed 2 x 10 tokens: 1 000 x 150 + 20 x 600, times 2."""
    basis = BASIS | {"max_output": 10.0, "n": 2.0}
    found = cost_of(TARIFF, basis, Usage(response_bytes=1_000_000, cut_short=True))
    assert found.price_nanos == 324_000


def test_an_estimate_goes_by_the_logged_body_when_the_quote_could_not() -> None:
    """No length at the quote, 401 bytes in the log: 101 tokens x 150 x 2."""
    found = cost_of(TARIFF, BASIS | {"input": 0}, Usage(request_bytes=401, cut_short=True))
    assert (found.price_nanos, found.units) == (30_300, 101)


def test_a_cut_stream_with_usage_is_not_estimated() -> None:
    """Counts that came before the client hung up are better than bytes."""
    cut = replace_fields(USAGE, cut_short=True, response_bytes=10**6)
    assert TARIFF.cost(BASIS, cut) == TARIFF.cost(BASIS, USAGE)


def test_only_the_missing_count_is_estimated() -> None:
    """2 000 tokens of input are named, 401 bytes came: 2 000 x 150 + 3 x 600, times 2."""
    named = Usage(input_tokens=2_000, response_bytes=401, cut_short=True)
    found = cost_of(TARIFF, BASIS, named)
    assert (found.price_nanos, found.review) == (603_600, "estimated_from_bytes")
    silent = Usage(output_tokens=3, cut_short=True)
    found = cost_of(TARIFF, BASIS, silent)
    assert (found.price_nanos, found.review) == (303_600, "estimated_from_bytes")


def test_an_estimate_below_cost_carries_both_reasons() -> None:
    """Two things to look at are both said."""
    found = cost_of(tariff_of(replace(MODEL, own=rates(1))), BASIS, Usage(cut_short=True))
    assert found.review == "estimated_from_bytes, price_below_cost"


def test_an_estimate_needs_the_tickets_numbers() -> None:
    """A basis without ``max_output`` has no bound, so no estimate."""
    found = TARIFF.cost({"model": "mini", "input": 1, "n": 1}, Usage(cut_short=True))
    assert found == NoUsage("the ticket's max_output missing")


def test_a_cost_beyond_the_ledger_is_no_usage() -> None:
    """Nothing above ``MAX_NANOS`` ever leaves the meter."""
    found = tariff_of(replace(MODEL, own=rates(MAX_NANOS))).cost(
        BASIS, Usage(input_tokens=2**50, output_tokens=0)
    )
    assert found == NoUsage("the usage costs more than the ledger can hold")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ModelPrice(max_output_tokens=10),
        lambda: replace(MODEL, max_output_tokens=0),
        lambda: replace(MODEL, typical_output_tokens=-1),
        lambda: replace(MODEL, max_input_tokens=0),
        lambda: rates(-1),
        lambda: replace(PROVIDER, input_nanos_per_mtok=HALF),
        lambda: replace(PROVIDER, cached_input_nanos_per_mtok=-1),
        lambda: TokenTariff({}),
        lambda: replace(TARIFF, markup_ppm=0),
        lambda: replace(TARIFF, stream_bytes_per_token=0),
    ],
)
def test_a_tariff_that_cannot_price_is_not_made(make: Callable[[], object]) -> None:
    """Wrong settings are found when they are read, not when a request comes."""
    with pytest.raises(ConfigError):
        make()
