"""The meter of JSON-RPC requests, against numbers worked out by hand.

Most tests sell a compute unit for 1 000 nano-USD.
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import ConfigError
from billing.meters.compute_units import ComputeUnitTariff
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS
from tests.unit.billing import metering
from tests.unit.billing.metering import quoted, refused

METHODS = {"eth_blockNumber": 1_000, "eth_call": 1_500, "eth_getLogs": 2_000, "trace_block": 5_000}
TARIFF = ComputeUnitTariff(methods=METHODS, nanos_per_cu=1_000)
BATCH = {"eth_call": 2, "eth_getLogs": 1}
HALF: Any = 0.5  # what YAML may hold and types would not let through


def cost_of(tariff: ComputeUnitTariff, calls: dict[str, int], size_bytes: int) -> Cost:
    """The cost of calls with that many bytes in and out."""
    bytes_in = size_bytes // 3
    usage = Usage(request_bytes=bytes_in, response_bytes=size_bytes - bytes_in)
    return metering.cost_of(tariff, {"calls": calls}, usage)


@pytest.mark.parametrize(
    ("calls", "size_bytes", "price_nanos", "units"),
    [
        ({"eth_blockNumber": 1}, 0, 1_000, 1),
        ({"eth_call": 1}, 500, 1_500, 2),
        ({"eth_call": 1}, 1_024, 1_500, 2),
        ({"eth_call": 1}, 1_536, 2_250, 3),
        ({"eth_blockNumber": 1}, 1_025, 1_001, 2),
        ({"trace_block": 1}, 10_240, 50_000, 50),
        (BATCH, 3_072, 5_000, 5),
        (BATCH, 6_144, 10_000, 10),
        (BATCH, 6_145, 10_002, 11),
        ({"eth_blockNumber": 1_000}, 90_000, 1_000_000, 1_000),
    ],
)
def test_calls_cost_their_multipliers_times_their_size(
    calls: dict[str, int], size_bytes: int, price_nanos: int, units: int
) -> None:
    """Multiplier x max(1, bytes / 1024), each call of a batch priced, its bytes shared evenly.

    1 536 bytes are 1.5 x 1.5 = 2.25 CU. 1 025 bytes are 1025/1024 CU, 1 000.98 nano-USD. The batch
    has 2 x 1.5 + 2 = 5 CU up to 3 x 1 024 bytes, twice that at 6 144, and 5 x 6145/3072 =
    10.0016 CU at 6 145.
    """
    found = cost_of(TARIFF, calls, size_bytes)
    assert (found.price_nanos, found.units, found.review) == (price_nanos, units, "")


def test_a_quote_goes_by_the_calls_and_the_largest_answer() -> None:
    """5 CU in 3 calls, 300 bytes in, answers of 0, 1 and 64 KiB a call.

    Typically 5 000 x 3372/3072 = 5 488.28 nano-USD and 5.49 CU; at most 5 000 x 196908/3072 =
    320 488.28 nano-USD and 320.49 CU.
    """
    found = quoted(TARIFF, Ask(body_bytes=300, calls=BATCH))
    assert (found.min_nanos, found.typical_nanos, found.max_nanos) == (5_000, 5_489, 320_489)
    assert (found.min_units, found.typical_units, found.max_units) == (5, 6, 321)
    assert found.basis == {"calls": BATCH}


def test_a_formula_names_its_numbers() -> None:
    """One line says how the price came about."""
    assert cost_of(TARIFF, BATCH, 6_144).formula == (
        "(2 eth_call x 1.5 + 1 eth_getLogs x 2 = 5 CU) x max(1, 6144 bytes / 3072) x 1000"
        " = 10000 nano-USD"
    )


def test_a_long_formula_is_summed_up() -> None:
    """Nine methods of 0.25 CU: eight by name, the rest by number."""
    methods = {f"m{number}": 250 for number in range(9)}
    tariff = ComputeUnitTariff(methods=methods, nanos_per_cu=4)
    formula = cost_of(tariff, dict.fromkeys(methods, 1), 0).formula
    assert "1 m7 x 0.25 + 1 more methods = 2.25 CU" in formula
    assert "m8" not in formula


def test_an_unknown_method_is_refused_by_its_name() -> None:
    """Without a default multiplier nothing is guessed."""
    found = refused(TARIFF, Ask(calls={"eth_call": 1, "eth_\nodd\ud800": 1}))
    assert found.kind.code == "bad_request_body"
    assert found.numbers == {"field": "method", "method": "eth_\\nodd\\ud800"}


def test_unlisted_methods_share_the_default_multiplier() -> None:
    """Three unlisted calls at 2.5 CU and one of 1.5: 9 CU; the ticket names none of the three."""
    tariff = replace(TARIFF, default_multiplier_thousandths=2_500)
    found = quoted(tariff, Ask(calls={"a": 1, "b": 1, "*": 1, "eth_call": 1}))
    assert found.basis == {"calls": {"*": 3, "eth_call": 1}}
    assert found.min_nanos == 9_000
    assert cost_of(tariff, {"*": 3, "eth_call": 1}, 0).price_nanos == 9_000


@pytest.mark.parametrize("calls", [{}, {"eth_call": 0}, {"eth_call": -1}])
def test_a_request_without_calls_is_refused(calls: dict[str, int]) -> None:
    """An empty batch calls nothing, so there is nothing to sell."""
    assert refused(TARIFF, Ask(body_bytes=2, calls=calls)).kind.code == "bad_request_body"


def test_a_tickets_numbers_may_come_as_doubles() -> None:
    """The ticket passes through Envoy's metadata, where every number is a double."""
    doubles: dict[str, object] = {"calls": {"eth_call": 2.0, "eth_getLogs": 1.0}}
    assert TARIFF.cost(doubles, Usage()) == TARIFF.cost({"calls": BATCH}, Usage())


@pytest.mark.parametrize(
    ("basis", "reason"),
    [
        ({}, "the ticket names no calls"),
        ({"calls": 3}, "the ticket names no calls"),
        ({"calls": {}}, "the request calls no method"),
        ({"calls": {"gone": 1}}, "a method of the ticket is not in this tariff"),
        ({"calls": {"*": 1}}, "a method of the ticket is not in this tariff"),
        ({"calls": {7: 1}}, "a method of the ticket is not in this tariff"),
        ({"calls": {"eth_call": -1}}, "the number of calls is negative"),
        ({"calls": {"eth_call": 1.5}}, "the number of calls is not a whole number"),
    ],
)
def test_a_ticket_without_usable_calls_has_no_cost(basis: dict[str, object], reason: str) -> None:
    """What the ticket does not say is not guessed."""
    assert TARIFF.cost(basis, Usage()) == NoUsage(reason)


def test_the_providers_cost_stands_beside_the_price() -> None:
    """5 CU at 700 nano-USD times 1.3 = 4 550; own 600 instead is below cost."""
    marked_up = replace(TARIFF, nanos_per_cu=None, provider_nanos_per_cu=700, markup_ppm=1_300_000)
    found = cost_of(marked_up, BATCH, 0)
    assert (found.price_nanos, found.provider_cost_nanos, found.review) == (4_550, 3_500, "")
    assert found.formula.endswith("x 700 x markup 1.3 = 4550 nano-USD; provider's cost 3500")
    below = cost_of(replace(marked_up, nanos_per_cu=600), BATCH, 0)
    assert (below.price_nanos, below.review) == (3_000, "price_below_cost")


def test_a_price_is_rounded_once() -> None:
    """0.001 CU at 1 nano-USD, markup 1.5: 0.0015 is 1; rounding the cost first made 2."""
    tariff = ComputeUnitTariff(methods={"tiny": 1}, provider_nanos_per_cu=1, markup_ppm=1_500_000)
    found = cost_of(tariff, {"tiny": 1}, 0)
    assert (found.price_nanos, found.provider_cost_nanos, found.units) == (1, 1, 1)


def test_nothing_beyond_the_ledger_leaves_the_meter() -> None:
    """A quote beyond ``MAX_NANOS`` is refused, a cost beyond it is no usable usage."""
    tariff = replace(TARIFF, nanos_per_cu=MAX_NANOS)
    assert refused(tariff, Ask(calls=BATCH)).kind.code == "request_too_expensive"
    found = tariff.cost({"calls": BATCH}, Usage())
    assert found == NoUsage("the usage costs more than the ledger can hold")


def test_units_beyond_the_ledger_never_leave_the_meter() -> None:
    """Units are bounded even where they cost nothing: 2^53 calls x 10^6 CU."""
    tariff = ComputeUnitTariff(methods={"free": 10**9}, nanos_per_cu=0)
    assert refused(tariff, Ask(calls={"free": 2**53})).kind.code == "request_too_expensive"
    assert isinstance(tariff.cost({"calls": {"free": 2**53}}, Usage()), NoUsage)


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(TARIFF, nanos_per_cu=None),
        lambda: replace(TARIFF, nanos_per_cu=-1),
        lambda: replace(TARIFF, nanos_per_cu=HALF),
        lambda: replace(TARIFF, provider_nanos_per_cu=True),
        lambda: replace(TARIFF, markup_ppm=-1),
        lambda: replace(TARIFF, methods={"eth_call": HALF}),
        lambda: replace(TARIFF, methods={"eth_call": -1}),
        lambda: replace(TARIFF, methods={"*": 1_000}),
        lambda: replace(TARIFF, default_multiplier_thousandths=-1),
        lambda: replace(TARIFF, max_response_kib=0),
        lambda: replace(TARIFF, typical_response_kib=65),
    ],
)
def test_a_tariff_that_cannot_price_is_not_made(make: Callable[[], object]) -> None:
    """Wrong settings are found when they are read, not when a request comes."""
    with pytest.raises(ConfigError):
        make()


def test_what_is_free_may_be_said() -> None:
    """A multiplier of 0, for one method or for all others, and answers without a size."""
    tariff = ComputeUnitTariff(
        methods={"ping": 0},
        default_multiplier_thousandths=0,
        nanos_per_cu=1,
        typical_response_kib=0,
        max_response_kib=1,
    )
    free = Quote(0, 0, 0, 0, 0, 0, {"calls": {"ping": 1, "*": 1}})
    assert tariff.quote(Ask(body_bytes=5_000, calls={"ping": 1, "other": 1})) == free


def test_a_body_of_unknown_length_quotes_its_answers() -> None:
    """A length below zero stands for none: 1 CU, at most 64 of them."""
    found = quoted(TARIFF, Ask(body_bytes=-1, calls={"eth_blockNumber": 1}))
    assert (found.min_nanos, found.typical_nanos, found.max_nanos) == (1_000, 1_000, 64_000)


CALLS = st.dictionaries(st.sampled_from(sorted(METHODS)), st.integers(1, 500), min_size=1)
TARIFFS = st.builds(
    ComputeUnitTariff,
    methods=st.fixed_dictionaries(dict.fromkeys(METHODS, st.integers(0, 10_000))),
    nanos_per_cu=st.none() | st.integers(0, 10**9),
    provider_nanos_per_cu=st.integers(0, 10**9),
    markup_ppm=st.integers(1, 5_000_000),
    max_response_kib=st.integers(1, 100),
)


@given(tariff=TARIFFS, calls=CALLS, body_bytes=st.integers(0, 10**6), part=st.integers(0, 1_024))
def test_no_answer_within_the_quote_costs_more_than_its_most(
    tariff: ComputeUnitTariff, calls: dict[str, int], body_bytes: int, part: int
) -> None:
    """Any answer up to the quoted size costs at most the hold; re-rating gives the same."""
    quote = quoted(tariff, Ask(body_bytes=body_bytes, calls=calls))
    response_bytes = sum(calls.values()) * tariff.max_response_kib * part
    usage = Usage(request_bytes=body_bytes, response_bytes=response_bytes)
    cost = tariff.cost(quote.basis, usage)
    assert isinstance(cost, Cost)
    assert quote.min_nanos <= cost.price_nanos <= quote.max_nanos
    assert quote.min_units <= cost.units <= quote.max_units
    assert tariff.cost(quote.basis, usage) == cost


@given(tariff=TARIFFS, calls=CALLS, size_bytes=st.integers(0, 10**7))
def test_amounts_are_the_exact_ones_rounded_up(
    tariff: ComputeUnitTariff, calls: dict[str, int], size_bytes: int
) -> None:
    """Price, provider's cost and units lie less than one above the exact fractions."""
    share = Fraction(size_bytes, sum(calls.values()))
    size = max(Fraction(1), share / 1_024)
    units = sum(Fraction(tariff.methods[m], 1_000) * size * count for m, count in calls.items())
    provider = units * (tariff.provider_nanos_per_cu or 0)
    own = tariff.nanos_per_cu
    price = provider * Fraction(tariff.markup_ppm, 10**6) if own is None else units * own
    found = cost_of(tariff, calls, size_bytes)
    assert 0 <= found.units - units < 1
    assert 0 <= found.price_nanos - price < 1
    assert found.provider_cost_nanos is not None
    assert 0 <= found.provider_cost_nanos - provider < 1


@given(tariff=TARIFFS, calls=CALLS, size_bytes=st.integers(0, 10**6), more=st.integers(0, 10**4))
def test_more_never_costs_less(
    tariff: ComputeUnitTariff, calls: dict[str, int], size_bytes: int, more: int
) -> None:
    """More bytes never cost less, and neither do more calls of the same small size."""
    small, large = cost_of(tariff, calls, size_bytes), cost_of(tariff, calls, size_bytes + more)
    assert small.price_nanos <= large.price_nanos
    assert small.units <= large.units
    few = quoted(tariff, Ask(calls=calls))
    many = quoted(tariff, Ask(calls={method: count + more for method, count in calls.items()}))
    assert few.max_nanos <= many.max_nanos
    assert few.min_nanos <= many.min_nanos
