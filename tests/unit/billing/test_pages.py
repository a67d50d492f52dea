"""Pages and their cursors."""

from __future__ import annotations

import pytest

from billing.errors import InvalidInput
from billing.pages import MAX_CURSOR_CHARS, MAX_PAGE_ROWS, PageAsk, cut_page


def test_last_page_has_no_cursor() -> None:
    """As many rows as were asked for, and none beyond, are the end."""
    page = cut_page(["a", "b"], PageAsk(2), [("a",), ("b",)])
    assert (page.rows, page.next_cursor) == (["a", "b"], None)


def test_cursor_leads_behind_the_last_row() -> None:
    """One row more than asked for is not shown; the cursor names the last one that is."""
    page = cut_page(["a", "b", "c"], PageAsk(2), [("a", 1), ("b", 2), ("c", 3)])
    assert page.rows == ["a", "b"]
    assert PageAsk(2, page.next_cursor).after(str, int) == ("b", 2)


def test_first_page_is_behind_nothing() -> None:
    """Without a cursor a list begins at its start."""
    assert PageAsk().after(str) is None


@pytest.mark.parametrize("types", [(int,), (str, int), ()])
def test_cursor_of_another_list_is_refused(types: tuple[type, ...]) -> None:
    """A sorting key of other types belongs to another list."""
    page = cut_page(["a", "b"], PageAsk(1), [("a",), ("b",)])
    with pytest.raises(InvalidInput, match="another list"):
        PageAsk(1, page.next_cursor).after(*types)


@pytest.mark.parametrize("text", ["", "!", "e30", "bm90IGpzb24", "é", "a" * (MAX_CURSOR_CHARS + 1)])
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    """Empty, no base64, no list, no JSON, no ASCII, too long."""
    with pytest.raises(InvalidInput, match="cursor"):
        PageAsk(1, text).after(str)


@pytest.mark.parametrize("limit", [0, -1, MAX_PAGE_ROWS + 1, 10**9])
def test_page_has_a_bound(limit: int) -> None:
    """A page of nothing and one of a million are bad input."""
    with pytest.raises(InvalidInput, match="rows"):
        PageAsk(limit)
