"""Which class of fault a try ended with, as a word for the counter."""

from __future__ import annotations

CLASSES = (
    ("Deadlock", "deadlock"),
    ("Serialization", "serialization"),
    ("Timeout", "timeout"),
    ("QueryCanceled", "timeout"),
    ("LockNotAvailable", "timeout"),
    ("TooMany", "resources"),
    ("Connection", "connection"),
    ("Interface", "connection"),
    ("OSError", "connection"),
    ("Shutdown", "shutdown"),
    ("CannotConnectNow", "shutdown"),
    ("ReadOnly", "read_only"),
    ("DiskFull", "disk_full"),
)
"""A part of the name of the error at the root, and the class. Errors are told apart by name because
this package does not know the client of the store, only that stores name their errors so."""

OTHER = "other"
MAX_DEPTH = 10


def fault_class(fault: BaseException) -> str:
    """The class of the first known error, from the root cause to the fault itself."""
    chain: list[BaseException] = []
    cause: BaseException | None = fault
    while cause is not None and len(chain) < MAX_DEPTH:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    names = (kind.__name__ for error in reversed(chain) for kind in type(error).__mro__)
    for name in names:
        for part, word in CLASSES:
            if part in name:
                return word
    return OTHER
