"""One suite for every store of principals (memory, Postgres): who a key belongs to, and news."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from billing.errors import StoreUnavailable
from billing.keys import hash_key
from billing.stores.protocol import Change, PrincipalStore
from billing.subscriptions import Principal, Subscription
from tests.contract.principal_bench import PrincipalBench

A, B = "0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"
FIRST, SECOND, UNKNOWN = hash_key("first"), hash_key("second"), hash_key("unknown")
FAR_S = 4_000_000_000
"""A time that no test run reaches."""
WITHIN_S = 1.0
"""How soon a change has to be heard of."""
AFTER_A_LOSS_S = 10.0

LLM = Subscription("llm", "pro", "active", 1000, 5, 10, 1_760_000_000, FAR_S)
RPC = Subscription("rpc", "free", "past_due", None, None, None, 1_760_000_000, FAR_S)
PRINCIPAL = Principal(
    key_id="0198c0de-0000-7000-8000-0000000000f1",
    key_status="active",
    key_expires_s=None,
    scopes=frozenset(),
    account_id=A,
    account_status="active",
    tier="standard",
    subscriptions={"llm": LLM, "rpc": RPC},
)
OTHER = replace(
    PRINCIPAL,
    key_id="0198c0de-0000-7000-8000-0000000000f2",
    key_expires_s=FAR_S,
    scopes=frozenset({"chat", "rpc"}),
    account_id=B,
    account_status="suspended",
    tier="gold",
    subscriptions={},
)


@asynccontextmanager
async def listening(store: PrincipalStore) -> AsyncIterator[AsyncIterator[Change]]:
    """Changes from now on, from where the store says that it listens."""
    changes = store.changes()
    assert await heard(changes, AFTER_A_LOSS_S) == Change("lost", detail="back")
    try:
        yield changes
    finally:
        if isinstance(changes, AsyncGenerator):
            await changes.aclose()


async def heard(changes: AsyncIterator[Change], within_s: float = WITHIN_S) -> Change:
    """The next change, in time."""
    async with asyncio.timeout(within_s):
        return await anext(changes)


async def until(changes: AsyncIterator[Change], wanted: Change) -> None:
    """Listen until a change is told, in time."""
    async with asyncio.timeout(WITHIN_S):
        while await anext(changes) != wanted:
            continue


# --- look-ups


@pytest.mark.parametrize("principal", [PRINCIPAL, OTHER, replace(OTHER, key_status="revoked")])
async def test_a_key_leads_to_all_that_a_request_needs(
    principals: PrincipalBench, principal: Principal
) -> None:
    """Key, account and subscriptions come back as they were written, the ended included."""
    await principals.put(FIRST, principal)
    assert await principals.store.find([FIRST]) == {FIRST: principal}


async def test_many_keys_at_once(principals: PrincipalBench) -> None:
    """One look-up answers for all keys that wait; unknown ones are left out."""
    await principals.put(FIRST, PRINCIPAL)
    await principals.put(SECOND, OTHER)
    found = await principals.store.find([UNKNOWN, SECOND, FIRST, SECOND])
    assert found == {FIRST: PRINCIPAL, SECOND: OTHER}
    assert await principals.store.find([UNKNOWN]) == {}
    assert await principals.store.find([]) == {}


async def test_two_keys_of_one_account(principals: PrincipalBench) -> None:
    """Keys of one account share its subscriptions and nothing else."""
    second = replace(PRINCIPAL, key_id=OTHER.key_id, scopes=frozenset({"chat"}))
    await principals.put(FIRST, PRINCIPAL)
    await principals.put(SECOND, replace(second, subscriptions={}))
    found = await principals.store.find([FIRST, SECOND])
    assert found[FIRST] == PRINCIPAL
    assert found[SECOND].scopes == {"chat"}


async def test_a_change_is_seen_by_the_next_look_up(principals: PrincipalBench) -> None:
    """Nothing is remembered by the store itself."""
    await principals.put(FIRST, PRINCIPAL)
    await principals.revoke(FIRST)
    await principals.set_account_status(A, "suspended")
    await principals.set_subscription(A, replace(LLM, status="cancelled"))
    found = (await principals.store.find([FIRST]))[FIRST]
    assert (found.key_status, found.account_status) == ("revoked", "suspended")
    assert found.subscriptions["llm"].status == "cancelled"


async def test_a_store_that_does_not_answer_says_so(principals: PrincipalBench) -> None:
    """A look-up that fails raises StoreUnavailable, so that no key is taken for unknown."""
    with pytest.raises(StoreUnavailable):
        await principals.unreachable.find([FIRST])


# --- news


async def test_a_new_and_a_revoked_key_are_told(principals: PrincipalBench) -> None:
    """Who remembered that a key was unknown, or good, hears at once that it changed."""
    async with listening(principals.store) as changes:
        await principals.put(FIRST, PRINCIPAL)
        await until(changes, Change("key", A, FIRST.hex()))
        await principals.revoke(FIRST)
        await until(changes, Change("key", A, FIRST.hex()))


async def test_a_suspended_account_is_told(principals: PrincipalBench) -> None:
    """A suspension names its account."""
    await principals.put(FIRST, PRINCIPAL)
    async with listening(principals.store) as changes:
        await principals.set_account_status(A, "suspended")
        await until(changes, Change("account", A))


async def test_a_changed_subscription_is_told(principals: PrincipalBench) -> None:
    """New terms name the account that they hold for."""
    await principals.put(FIRST, PRINCIPAL)
    async with listening(principals.store) as changes:
        await principals.set_subscription(A, replace(LLM, units_limit=7))
        await until(changes, Change("subscription", A))


async def test_every_listener_hears(principals: PrincipalBench) -> None:
    """Two workers that listen both hear of one change."""
    await principals.put(FIRST, PRINCIPAL)
    async with listening(principals.store) as one, listening(principals.store) as other:
        await principals.revoke(FIRST)
        for changes in (one, other):
            await until(changes, Change("key", A, FIRST.hex()))


async def test_a_lost_connection_is_told_and_mended(principals: PrincipalBench) -> None:
    """A listener hears that it may have missed something, and then hears changes again."""
    await principals.put(FIRST, PRINCIPAL)
    async with listening(principals.store) as changes:
        await principals.break_connection()
        assert await heard(changes, AFTER_A_LOSS_S) == Change("lost", detail="away")
        assert await heard(changes, AFTER_A_LOSS_S) == Change("lost", detail="back")
        await principals.revoke(FIRST)
        await until(changes, Change("key", A, FIRST.hex()))
