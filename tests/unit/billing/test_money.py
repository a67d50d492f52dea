"""Whole nano-USD: rounding, reading, writing."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import (
    MAX_NANOS,
    MoneyError,
    ceil_div,
    checked_nanos,
    format_credits,
    format_usd,
    parse_credits,
    parse_usd,
)

AMOUNTS = st.integers(-MAX_NANOS, MAX_NANOS)


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [
        (0, 7, 0),
        (1, 7, 1),
        (7, 7, 1),
        (8, 7, 2),
        (-1, 7, 0),
        (-8, 7, -1),
        (10**40 + 1, 10**20, 10**20 + 1),
    ],
)
def test_division_rounds_up(numerator: int, denominator: int, quotient: int) -> None:
    """Towards positive infinity, at any size."""
    assert ceil_div(numerator, denominator) == quotient


@pytest.mark.parametrize("denominator", [0, -1])
def test_division_by_nothing_is_a_fault_of_ours(denominator: int) -> None:
    """No price divides by zero or less."""
    with pytest.raises(AssertionError):
        ceil_div(1, denominator)


@given(numerator=st.integers(), denominator=st.integers(1))
def test_division_is_the_exact_one_rounded_up_once(numerator: int, denominator: int) -> None:
    """Less than one above the exact fraction, never below it."""
    assert 0 <= ceil_div(numerator, denominator) - Fraction(numerator, denominator) < 1


@pytest.mark.parametrize(
    ("text", "amount_nanos"),
    [
        ("25.00", 25_000_000_000),
        ("25", 25_000_000_000),
        (" 25 ", 25_000_000_000),
        ("0.000000001", 1),
        ("-1.5", -1_500_000_000),
        ("0", 0),
        ("-0", 0),
        ("007.5", 7_500_000_000),
        ("4611686018.427387904", MAX_NANOS),
        ("-4611686018.427387904", -MAX_NANOS),
    ],
)
def test_dollars_are_read_to_the_nano(text: str, amount_nanos: int) -> None:
    """1 USD is 10^9 nano-USD; the largest amount is 2^62."""
    assert parse_usd(text) == amount_nanos


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".5",
        "5.",
        "1e3",
        "+1",
        "1_000",
        "1,50",
        "$1",
        "nan",
        "inf",
        "--1",
        "1 2",
        "0.0000000001",
        "12345678901234",
        "4611686018.427387905",
        "\u0661\u0662",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """No exponent, no separator, nothing below a nano-USD, nothing beyond the ledger."""
    with pytest.raises(MoneyError):
        parse_usd(text)


@pytest.mark.parametrize(
    ("text", "amount_nanos"),
    [("1", 1_000_000), ("1.5", 1_500_000), ("0.000001", 1), ("-2", -2_000_000)],
)
def test_credits_are_thousandths_of_a_dollar(text: str, amount_nanos: int) -> None:
    """1 credit is 10^6 nano-USD."""
    assert parse_credits(text) == amount_nanos


def test_credits_finer_than_a_nano_are_refused() -> None:
    """A ten-millionth of a credit is a tenth of a nano-USD, and is not rounded away."""
    with pytest.raises(MoneyError, match="finer than one nano-USD"):
        parse_credits("0.0000001")


@pytest.mark.parametrize(
    ("amount_nanos", "usd", "credit"),
    [
        (0, "0.000000000", "0.000000"),
        (1, "0.000000001", "0.000001"),
        (-1, "-0.000000001", "-0.000001"),
        (25_000_000_000, "25.000000000", "25000.000000"),
        (-1_500_000, "-0.001500000", "-1.500000"),
    ],
)
def test_amounts_are_written_with_all_decimals(amount_nanos: int, usd: str, credit: str) -> None:
    """Nine decimals of a dollar, six of a credit, the sign in front."""
    assert (format_usd(amount_nanos), format_credits(amount_nanos)) == (usd, credit)


@given(amount_nanos=AMOUNTS)
def test_what_is_written_is_read_back(amount_nanos: int) -> None:
    """Writing and reading lose nothing, in either unit, and decimals agree."""
    assert parse_usd(format_usd(amount_nanos)) == amount_nanos
    assert parse_credits(format_credits(amount_nanos)) == amount_nanos
    assert Decimal(format_usd(amount_nanos)) * 10**9 == amount_nanos


@pytest.mark.parametrize("amount_nanos", [MAX_NANOS + 1, -MAX_NANOS - 1])
def test_an_amount_beyond_the_ledger_is_a_fault(amount_nanos: int) -> None:
    """The limit itself is held; two amounts below it still add up within ``bigint``."""
    assert 2 * (MAX_NANOS - 1) < 2**63
    assert checked_nanos(MAX_NANOS) == MAX_NANOS
    assert checked_nanos(-MAX_NANOS) == -MAX_NANOS
    with pytest.raises(MoneyError):
        checked_nanos(amount_nanos)
