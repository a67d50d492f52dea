"""Pages of long lists: a bounded number of rows, and a cursor that says where the next page begins.

A cursor is opaque text made of the last row's sorting key. It stays valid while rows come and go.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from billing.errors import InvalidInput

Row = TypeVar("Row")

DEFAULT_PAGE_ROWS = 100
MAX_PAGE_ROWS = 1000
"""A page is held in memory whole and sent in one answer: about half a MiB of the widest rows."""

MAX_CURSOR_CHARS = 600


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, in order; ``next_cursor`` is ``None`` on the last page."""

    rows: Sequence[Row]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PageAsk:
    """Which page: at most ``limit`` rows behind ``cursor``, from the start when it is ``None``."""

    limit: int = DEFAULT_PAGE_ROWS
    cursor: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_PAGE_ROWS:
            raise InvalidInput(f"a page has 1 to {MAX_PAGE_ROWS} rows, not {self.limit}")

    def after(self, *types: type) -> tuple[object, ...] | None:
        """The sorting key behind which the page begins; ``InvalidInput`` for a text of others."""
        if self.cursor is None:
            return None
        key = _decode(self.cursor)
        if len(key) != len(types) or not all(
            type(part) is kind for part, kind in zip(key, types, strict=True)
        ):
            raise InvalidInput("the cursor belongs to another list")
        return tuple(key)


def cut_page(rows: Sequence[Row], ask: PageAsk, keys: Sequence[tuple[object, ...]]) -> Page[Row]:
    """A page of what was read with ``limit + 1``; ``keys`` are the rows' sorting keys."""
    assert len(rows) == len(keys) <= ask.limit + 1, (
        "one row more than the page says if there is more"
    )
    if len(rows) <= ask.limit:
        return Page(rows, None)
    return Page(rows[: ask.limit], _encode(keys[ask.limit - 1]))


def _encode(key: tuple[object, ...]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def _decode(cursor: str) -> list[object]:
    if len(cursor) > MAX_CURSOR_CHARS:
        raise InvalidInput(f"a cursor has at most {MAX_CURSOR_CHARS} characters")
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        return msgspec.json.decode(text, type=list[object])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise InvalidInput("the cursor is none that a page of ours ended with") from error
