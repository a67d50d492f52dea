"""Numbers that come from outside."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.meters.readings import (
    MAX_READING,
    Exact,
    Unreadable,
    asked_whole,
    read_exact,
    read_whole,
    scaled,
    shown,
)
from billing.refusals import Refusal

ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
)


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (7, 7), (7.0, 7), (0.0, 0), (-0.0, 0), (MAX_READING, 2**53), (float(2**53), 2**53)],
)
def test_whole_numbers_are_read(value: object, number: int) -> None:
    """Integers and doubles that stand for one, up to 2^53."""
    found = read_whole("x", value)
    assert found == number
    assert type(found) is int


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "x missing"),
        (True, "x is not a whole number"),
        ("7", "x is not a whole number"),
        (7.5, "x is not a whole number"),
        (float("nan"), "x is not a whole number"),
        (float("inf"), "x is not a whole number"),
        (float("-inf"), "x is not a whole number"),
        ([7], "x is not a whole number"),
        (7 + 0j, "x is not a whole number"),
        (-1, "x is negative"),
        (-1.0, "x is negative"),
        (MAX_READING + 1, "x is above 9007199254740992"),
        (1e300, "x is above 9007199254740992"),
        # More digits than Python writes out: pytest needs a name for them, and so would a reason.
        pytest.param(10**5_000, "x is above 9007199254740992", id="huge"),
        pytest.param(-(10**5_000), "x is negative", id="huge below zero"),
    ],
)
def test_other_values_are_no_whole_numbers(value: object, reason: str) -> None:
    """Each is unreadable, and the reason says why."""
    assert read_whole("x", value) == Unreadable(reason)


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (3, Exact(3, 1)),
        (0.1, Exact(1, 10)),
        ("0.10", Exact(1, 10)),
        ("\t2.5 ", Exact(5, 2)),
        ("1.5e-05", Exact(3, 200_000)),
        ("12e3", Exact(12_000, 1)),
        ("1E+2", Exact(100, 1)),
        ("-0", Exact(0, 1)),
        ("9007199254740992", Exact(2**53, 1)),
    ],
)
def test_decimal_numbers_are_read_without_loss(value: object, exact: Exact) -> None:
    """A double is what its shortest text says: 0.1 is a tenth."""
    assert read_exact("x", value) == exact


@given(value=ANYTHING)
def test_anything_is_read_or_named(value: object) -> None:
    """Whatever JSON holds, the answer is a number within bounds or a reason; never a fault."""
    whole, exact = read_whole("x", value), read_exact("x", value)
    assert isinstance(whole, Unreadable) or 0 <= whole <= MAX_READING
    assert isinstance(exact, Unreadable) or 0 <= Fraction(*exact) <= MAX_READING
    if isinstance(whole, int):
        assert exact == Exact(whole, 1)


@given(number=st.decimals(0, 10**12, places=25))
def test_an_exact_number_is_written_as_it_was_read(number: object) -> None:
    """No digit is lost on the way through; only trailing zeros are."""
    found = read_exact("x", f"{number:.25f}")
    assert isinstance(found, Exact)
    assert Fraction(str(found)) == Fraction(f"{number:.25f}")
    assert not str(found).endswith(".")


def test_the_finest_text_can_be_written_again() -> None:
    """40 decimals moved by 99 more are the finest number there is: 10^-139."""
    found = read_exact("x", "0." + "0" * 39 + "1e-99")
    assert found == Exact(1, 10**139)
    assert str(found) == "0." + "0" * 138 + "1"


def test_a_number_is_compared_exactly() -> None:
    """A tenth is above 9/100, and not above 1/10."""
    tenth = Exact(1, 10)
    assert tenth.above(9, 100)
    assert not tenth.above(1, 10)


@pytest.mark.parametrize(
    ("value", "asked"), [(None, 5), (1, 1), (9, 9), (9.0, 9), (0, None), (10, None), ("5", None)]
)
def test_what_a_client_asks_for_is_bounded(value: object, asked: int | None) -> None:
    """From 1 to the limit; left out is the default; anything else is refused with the limit."""
    found = asked_whole("n", value, default=5, limit=9)
    if asked is None:
        assert isinstance(found, Refusal)
        assert found.reason == "n must be a whole number from 1 to 9"
        assert found.numbers == {"field": "n", "limit": 9}
    else:
        assert found == asked


@given(text=st.text(st.characters()))
def test_a_clients_text_is_shown_tamed(text: str) -> None:
    """Printable ASCII, and no longer than 64 escaped characters."""
    assert shown(text).isascii()
    assert shown(text).isprintable()
    assert len(shown(text)) <= 64 * len("\\U0010ffff")


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(1_500, 3, "1.5"), (2_000_000, 6, "2"), (0, 3, "0"), (1, 6, "0.000001"), (100, 0, "100")],
)
def test_scaled_numbers_are_written_short(value: int, decimals: int, text: str) -> None:
    """Zeros behind the point are left out, those before it never are."""
    assert scaled(value, decimals) == text
