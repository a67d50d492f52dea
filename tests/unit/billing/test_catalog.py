"""The catalog: which price version applies when, and what never shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog import Credential, PriceBook, PriceVersion


def version(name: str, effective_from_s: int) -> PriceVersion:
    """A version of the price book without tariffs."""
    return PriceVersion(name, effective_from_s, {}, name)


BOOK = PriceBook([version("b", 200), version("a", 100), version("c", 300)])


@pytest.mark.parametrize(
    ("now_s", "name"),
    [(100, "a"), (199.999, "a"), (200, "b"), (299, "b"), (300, "c"), (10**12, "c")],
)
def test_the_newest_version_in_force_applies(now_s: float, name: str) -> None:
    """A version applies from its second on, until the next; the order of entry is no matter."""
    found = BOOK.at(now_s)
    assert found is not None
    assert found.version == name


def test_before_the_first_version_there_is_no_price() -> None:
    """Nothing is sold before the first price; guessing one would be worse."""
    assert BOOK.at(99.999) is None
    assert PriceBook([]).at(10**12) is None


@given(st.sets(st.integers(0, 1000), max_size=8), st.integers(0, 1000))
def test_against_a_plain_search(starts: set[int], now_s: int) -> None:
    """For any book and any time: the latest start that is not after now."""
    book = PriceBook([version(str(start), start) for start in starts])
    found = book.at(now_s)
    expected = max((start for start in starts if start <= now_s), default=None)
    assert (found.effective_from_s if found else None) == expected


def test_versions_are_found_by_name_in_force_or_not() -> None:
    """Re-rating an old request, or explaining a future price, asks by name."""
    found = BOOK.named("a")
    assert found is not None
    assert found.effective_from_s == 100
    assert BOOK.named("z") is None
    assert [v.version for v in BOOK.versions] == ["a", "b", "c"]


def test_two_versions_of_one_name_are_a_bug() -> None:
    """A version is never changed, so a name stands once."""
    with pytest.raises(AssertionError):
        PriceBook([version("a", 1), version("a", 2)])


def test_a_credential_is_never_shown() -> None:
    """Logs and tracebacks print a route without the provider's secret."""
    assert "s3cret" not in repr(Credential("authorization", "Bearer s3cret"))
