"""The spool directories of several settlers below one root, and who owns which.

A directory belongs to whoever holds an exclusive ``flock`` on its lock file. The kernel lets go of
it when the process ends, however that happens, so a lock that is free says that its settler is
gone. Each settler takes the first directory that is free (``settler-1``, ``settler-2``, ...); one
that comes back finds its own again, unless another settler has taken it over meanwhile.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from billing.errors import Conflict

LOCK = "lock"
SUFFIX = ".seg"
NAME = "settler-"
MAX_SETTLERS = 1_000
"""Below one root; more than any machine runs, so that a fault cannot make directories for ever."""

Opened = TypeVar("Opened")


def own(directory: Path) -> int:
    """Make the directory ours; returns the descriptor that holds the lock.

    Raises :class:`Conflict` when another process owns it, or is just removing it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / LOCK
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        raise Conflict(f"the spool {directory} is being removed") from None
    if _locked(lock) and _is_file_of(lock, path):
        return lock
    os.close(lock)
    raise Conflict(f"another process owns the spool {directory}")


def disown(directory: Path, lock: int) -> None:
    """Remove a directory that is done with, and give it up; what is set aside for a person, or
    belongs to others, stays with it."""
    (directory / LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # something lies there that nobody may remove
        directory.rmdir()
    os.close(lock)


def claim(root: Path, opened: Callable[[Path], Opened]) -> Opened:
    """Open the first directory below the root that nobody owns."""
    for number in range(1, MAX_SETTLERS + 1):
        try:
            return opened(root / f"{NAME}{number}")
        except Conflict:
            continue
    raise Conflict(f"{MAX_SETTLERS} settlers own a spool below {root}")


def with_entries(root: Path) -> Iterator[Path]:
    """Every directory that holds segments, whoever owns it: those below the root, and the root
    itself, which was the one spool of earlier versions."""
    for directory in itertools.chain((root,), sorted(root.glob("*/"))):
        if any(directory.glob(f"*{SUFFIX}")):
            yield directory


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_of(lock: int, path: Path) -> bool:
    """Whether the locked file still stands there: its last owner may have removed it between our
    opening and our locking."""
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
