"""Faults by class, told by the names that the store's client gives them."""

import asyncpg
import pytest

from accesslog.faults import fault_class
from billing.errors import StoreUnavailable


@pytest.mark.parametrize(
    ("root", "word"),
    [
        (asyncpg.DeadlockDetectedError("x"), "deadlock"),
        (asyncpg.SerializationError("x"), "serialization"),
        (asyncpg.QueryCanceledError("x"), "timeout"),
        (TimeoutError(), "timeout"),
        (asyncpg.LockNotAvailableError("x"), "timeout"),
        (ConnectionResetError(), "connection"),
        (asyncpg.ConnectionDoesNotExistError("x"), "connection"),
        (asyncpg.InterfaceError("x"), "connection"),
        (asyncpg.AdminShutdownError("x"), "shutdown"),
        (asyncpg.CannotConnectNowError("x"), "shutdown"),
        (asyncpg.ReadOnlySQLTransactionError("x"), "read_only"),
        (asyncpg.DiskFullError("x"), "disk_full"),
        (asyncpg.TooManyConnectionsError("x"), "resources"),
        (KeyError("x"), "other"),
    ],
)
def test_the_root_cause_names_the_class(root: Exception, word: str) -> None:
    """Through the store's own error the client's error is seen, and by itself as well."""
    fault = StoreUnavailable("settle")
    fault.__cause__ = root
    assert fault_class(fault) == word
    assert fault_class(root) == word


def test_a_fault_without_a_cause_is_other() -> None:
    """A store that says nothing of its reason is counted all the same."""
    assert fault_class(StoreUnavailable("away")) == "other"
