"""Places in log files, kept beside them."""

from pathlib import Path

import pytest

from accesslog.bookmarks import FILE_NAME, START, Bookmark, Bookmarks, digest


def test_a_place_is_found_again(tmp_path: Path) -> None:
    """What was kept is found by its key, by another reader of the directory too."""
    mark = Bookmark(100, 5, 20, digest(b"line"), "access.log")
    Bookmarks(tmp_path, 10).keep("one", mark)
    assert Bookmarks(tmp_path, 10).find("one") == mark
    assert Bookmarks(tmp_path, 10).find("two") == START


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Of many files the places kept last stay, and the file stays small."""
    bookmarks = Bookmarks(tmp_path, 3)
    for n in range(5):
        bookmarks.keep(str(n), Bookmark(n + 1))
    bookmarks.keep("2", Bookmark(50))
    bookmarks.keep("9", Bookmark(9))
    assert [bookmarks.find(str(n)).offset for n in range(5)] == [0, 0, 50, 0, 5]


@pytest.mark.parametrize("garbage", [b"", b"[]", b"\x00", b'{"one": 7}'])
def test_a_file_of_garbage_is_no_bookmark(tmp_path: Path, garbage: bytes) -> None:
    """A damaged bookmark file leads to the start, and is replaced."""
    (tmp_path / FILE_NAME).write_bytes(garbage)
    bookmarks = Bookmarks(tmp_path, 3)
    assert bookmarks.find("one") == START
    bookmarks.keep("one", Bookmark(7))
    assert bookmarks.find("one") == Bookmark(7)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
