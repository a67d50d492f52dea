"""Who owns which spool directory below one root."""

import os
from pathlib import Path

import pytest

from accesslog.slots import LOCK, claim, disown, own, with_entries
from billing.errors import Conflict


def test_each_settler_takes_the_first_directory_that_is_free(tmp_path: Path) -> None:
    """Two that live have two directories; what one gives up the next one gets."""
    owned: dict[Path, int] = {}

    def opened(directory: Path) -> Path:
        owned[directory] = own(directory)
        return directory

    first, second = claim(tmp_path, opened), claim(tmp_path, opened)
    assert (first.name, second.name) == ("settler-1", "settler-2")
    os.close(owned[first])
    assert claim(tmp_path, opened) == first
    for lock in (owned[first], owned[second]):
        os.close(lock)


def test_a_lock_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    """Whoever locked a file just as its last owner removed the directory owns nothing."""
    directory = tmp_path / "settler-1"
    lock = own(directory)
    (directory / LOCK).unlink()
    again = own(directory)
    with pytest.raises(Conflict):
        own(directory)
    os.close(lock)
    os.close(again)


def test_a_directory_that_is_done_with_is_gone(tmp_path: Path) -> None:
    """It is removed with its lock; one that holds something for a person stays."""
    empty, kept = tmp_path / "empty", tmp_path / "kept"
    disown(empty, own(empty))
    lock = own(kept)
    (kept / "00000000000000000001-0.damaged").write_bytes(b"?")
    disown(kept, lock)
    assert not empty.exists()
    assert [path.name for path in kept.iterdir()] == ["00000000000000000001-0.damaged"]


def test_only_directories_with_segments_are_looked_at(tmp_path: Path) -> None:
    """The root itself, where earlier versions had their only spool, is one of them."""
    names = ("00000000000000000001.seg", "settler-2/00000000000000000007.seg", "settler-3/lock")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert list(with_entries(tmp_path)) == [tmp_path, tmp_path / "settler-2"]
    assert list(with_entries(tmp_path / "nowhere")) == []
