"""What only the stores in memory do: faults on demand, and listeners that fall behind."""

import asyncio
from dataclasses import replace

import pytest

from billing.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from billing.money import MAX_NANOS
from billing.stores.memory import MemoryLedgerStore, MemoryPrincipalStore
from billing.stores.protocol import Change
from billing.subscriptions import Principal

LISTENING = Change("lost", detail="back")
PRINCIPAL = Principal("k", "active", None, frozenset(), "a", "active", "standard", {})


async def test_a_listener_that_falls_behind_is_told_that_it_lost_something() -> None:
    """More changes than may wait are replaced by one word; others still hear each of them."""
    store = MemoryPrincipalStore(max_waiting=3)
    slow, quick = store.changes(), store.changes()
    assert await anext(quick) == LISTENING
    for number in range(3):
        store.announce(Change("account", str(number)))
        assert await anext(quick) == Change("account", str(number))
    assert await anext(slow) == LISTENING
    store.announce(Change("balance", "a"))
    assert await anext(slow) == Change("balance", "a")


async def test_a_listener_that_is_gone_is_forgotten() -> None:
    """Who stops listening leaves nothing behind."""
    store = MemoryPrincipalStore()
    changes = store.changes()
    assert len(store._listeners) == 1
    del changes
    assert len(store._listeners) == 0


async def test_a_removed_key_is_told_and_unknown() -> None:
    """A key that is taken away is found no longer, and its listeners hear of it."""
    store = MemoryPrincipalStore()
    changes = store.changes()
    store.put(b"hash", PRINCIPAL)
    store.put(b"hash", replace(PRINCIPAL, tier="gold"))
    assert (await store.find([b"hash"]))[b"hash"].tier == "gold"
    store.remove(b"hash")
    assert await store.find([b"hash"]) == {}
    assert store.queries == 2
    told = [await anext(changes) for _ in range(4)]
    assert told == [LISTENING] + [Change("key", "a", b"hash".hex())] * 3


async def test_a_ledger_that_is_away_does_nothing() -> None:
    """While it is away every call says so, and nothing of it happens."""
    ledger = MemoryLedgerStore()
    ledger.open_account("a")
    ledger.away = True
    calls = [
        ledger.topup("a", 1, "r", 1),
        ledger.record([]),
        ledger.settle([], 1),
        ledger.expire(1, 1),
        ledger.extend([]),
        ledger.quarantine([]),
        ledger.truth(["a"], 1),
        ledger.promises(0, 1, 1),
        ledger.kept([1]),
    ]
    for done in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(done, StoreUnavailable)
    ledger.away = False
    assert (await ledger.truth(["a"], 1))["a"].posted_nanos == 0


async def test_what_cannot_be_paid_in() -> None:
    """Amounts out of bounds, unknown accounts and accounts that exist are refused by name."""
    ledger = MemoryLedgerStore()
    ledger.open_account("a")
    for amount in (0, -1, MAX_NANOS + 1):
        with pytest.raises(InvalidInput):
            await ledger.topup("a", amount, "r", 1)
    with pytest.raises(NotFound):
        await ledger.topup("b", 1, "r", 1)
    with pytest.raises(Conflict):
        ledger.open_account("a")
    assert await ledger.topup("a", MAX_NANOS, "r", 1)
    with pytest.raises(InvalidInput):
        await ledger.topup("a", 1, "s", 1)
    assert (await ledger.truth(["a"], 1))["a"].posted_nanos == MAX_NANOS
