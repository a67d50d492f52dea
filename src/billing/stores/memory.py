"""The stores in memory: one process, nothing kept. Unit tests, the model and trials use them."""

from billing.stores.memory_hot import LOAD_RIGHT_S, MemoryHotStore
from billing.stores.memory_ledger import MemoryLedgerStore
from billing.stores.memory_principals import MemoryPrincipalStore

__all__ = ["LOAD_RIGHT_S", "MemoryHotStore", "MemoryLedgerStore", "MemoryPrincipalStore"]
