"""The directory: one query for many who wait, bounds, and news of changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from billing.keys import hash_key
from billing.refusals import Refusal
from billing.stores.protocol import Change
from extauthz.directory import Caller, Directory
from tests.unit.extauthz.front_door import LISTENING, make_key, make_principal
from tests.unit.extauthz.office import LIMITS, SlowStore, make_office


async def test_a_known_key_costs_no_query() -> None:
    """After the first look-up the answer comes from memory, the same object each time."""
    office = make_office()
    key = office.add(1)
    first = await office.look(key)
    assert isinstance(first, Caller)
    assert first.principal == make_principal(1)
    assert [await office.look(key) for _ in range(5)] == [first] * 5
    assert (office.store.queries, office.counts.hits, office.counts.misses) == (1, 5, 1)


async def test_many_who_wait_for_one_key_share_one_query() -> None:
    """A hundred checks of a key that nobody knows yet ask Postgres once."""
    office = make_office()
    key = office.add(1)
    answers = await asyncio.gather(*(office.look(key) for _ in range(100)))
    assert office.store.queries == 1
    assert len({id(answer) for answer in answers}) == 1


async def test_keys_that_wait_together_share_a_query() -> None:
    """What comes to wait during a query goes into the next one, up to its bound."""
    office = make_office()
    slow = SlowStore(office.store)
    directory = Directory(slow, LIMITS, office.counts, office.clock)
    keys = [office.add(number) for number in range(121)]
    waiting = [asyncio.create_task(directory.find(keys[0]))]
    while not slow.asked:
        await asyncio.sleep(0)
    waiting += [asyncio.create_task(directory.find(key)) for key in keys[1:]]
    await asyncio.sleep(0)
    slow.gate.set()
    answers = await asyncio.gather(*waiting)
    assert all(isinstance(answer, Caller) for answer in answers)
    assert [len(asked) for asked in slow.asked] == [1, 50, 50, 20]


async def test_one_who_leaves_does_not_spoil_it_for_the_others() -> None:
    """A check that is cancelled while it waits leaves the query to those who still want it."""
    office = make_office()
    slow = SlowStore(office.store)
    directory = Directory(slow, LIMITS, office.counts, office.clock)
    key = office.add(1)
    leaving, staying = (asyncio.create_task(directory.find(key)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    slow.gate.set()
    assert isinstance(await staying, Caller)
    assert leaving.cancelled()


async def test_an_unknown_key_is_remembered_for_a_while() -> None:
    """It costs one query, and another one after its time."""
    office = make_office()
    key = hash_key(make_key(404))
    assert [await office.code(key) for _ in range(3)] == ["unknown_key"] * 3
    assert (office.store.queries, office.counts.unknown_hits) == (1, 2)
    office.clock.forward(5)
    assert await office.code(key) == "unknown_key"
    assert office.store.queries == 2


async def test_a_key_that_is_created_is_known_at_once() -> None:
    """The news of a new key ends its being unknown."""
    office = make_office()
    key = hash_key(make_key(1))
    assert await office.code(key) == "unknown_key"
    office.add(1)
    office.directory.tell(Change("key", make_principal(1).account_id))
    assert await office.code(key) == "known"


async def test_unknown_keys_take_bounded_room() -> None:
    """However many keys are made up, only so many are remembered, and that is counted."""
    office = make_office(replace(LIMITS, max_unknown=10))
    for number in range(100):
        assert await office.code(hash_key(make_key(number))) == "unknown_key"
    state = office.directory.state()
    assert (state.unknown, state.unknown_evicted) == (10, 90)
    assert state.known == 0


async def test_known_keys_take_bounded_room() -> None:
    """Both layers keep within their bounds; what had to make room is asked for again."""
    office = make_office(replace(LIMITS, max_known=20, max_ready=5))
    keys = [office.add(number) for number in range(50)]
    for key in keys:
        assert await office.code(key) == "known"
    state = office.directory.state()
    assert (state.known, state.ready) == (20, 5)
    assert (state.known_evicted, state.ready_evicted) == (30, 45)
    assert office.store.queries == 50
    assert await office.code(keys[35]) == "known"
    assert office.store.queries == 50, "it was packed away, not forgotten"
    assert await office.code(keys[0]) == "known"
    assert office.store.queries == 51


async def test_keys_that_are_used_stay() -> None:
    """The one that makes room is the one that was not used for longest."""
    office = make_office(replace(LIMITS, max_known=3, max_ready=1))
    keys = [office.add(number) for number in range(4)]
    for key in keys[:3]:
        await office.look(key)
    await office.look(keys[0])
    await office.look(keys[3])
    assert office.store.queries == 4
    await office.look(keys[0])
    assert office.store.queries == 4
    await office.look(keys[1])
    assert office.store.queries == 5


@pytest.mark.parametrize("kind", ["account", "key", "subscription"])
async def test_a_change_is_served_from_then_on(kind: str) -> None:
    """What was remembered of a changed account is never served again; others stay."""
    office = make_office()
    changed, other = office.add(1), office.add(2)
    await office.look(changed)
    await office.look(other)
    revoked = replace(make_principal(1), key_status="revoked")
    office.store.put(changed, revoked)
    office.directory.tell(Change(kind, revoked.account_id))  # type: ignore[arg-type]
    answer = await office.look(changed)
    assert isinstance(answer, Caller)
    assert answer.principal.key_status == "revoked"
    assert await office.code(other) == "known"
    assert office.store.queries == 3


async def test_a_change_during_a_query_makes_its_answer_old() -> None:
    """What was read before a change was told is asked for again by the next check."""
    office = make_office()
    slow = SlowStore(office.store)
    directory = Directory(slow, LIMITS, office.counts, office.clock)
    directory.tell(LISTENING)
    key = office.add(1)
    waiting = asyncio.create_task(directory.find(key))
    while not slow.asked:
        await asyncio.sleep(0)
    directory.tell(Change("account", make_principal(1).account_id))
    slow.gate.set()
    assert isinstance(await waiting, Caller)
    assert directory.recall(key) is None


async def test_too_many_changes_to_remember_make_everything_be_read_again() -> None:
    """The memory of changes is bounded too."""
    office = make_office(replace(LIMITS, max_changed=3))
    key = office.add(1)
    await office.look(key)
    for number in range(10, 14):
        office.directory.tell(Change("account", make_principal(number).account_id))
    assert office.directory.recall(key) is None
    assert await office.code(key) == "known"
    assert office.store.queries == 2


async def test_balances_do_not_touch_the_directory() -> None:
    """News of balances, barriers and epochs leave what is known as it is."""
    office = make_office()
    key = office.add(1)
    await office.look(key)
    for kind in ("balance", "barrier", "epoch"):
        office.directory.tell(Change(kind, make_principal(1).account_id))
    assert await office.code(key) == "known"
    assert office.store.queries == 1
    assert office.counts.changes == {"lost": 1, "balance": 1, "barrier": 1, "epoch": 1}


async def test_only_so_many_keys_wait() -> None:
    """Beyond the bound a new key is refused at once and counted; keys that wait already are not."""
    office = make_office()
    slow = SlowStore(office.store)
    limits = replace(LIMITS, max_waiting=2)
    directory = Directory(slow, limits, office.counts, office.clock)
    keys = [office.add(number) for number in range(3)]
    waiting = [asyncio.create_task(directory.find(key)) for key in (keys[0], keys[1], keys[0])]
    await asyncio.sleep(0)
    answer = await directory.find(keys[2])
    assert isinstance(answer, Refusal)
    assert answer.kind.code == "authorization_unavailable"
    assert office.counts.overloads == 1
    slow.gate.set()
    assert all(isinstance(answer, Caller) for answer in await asyncio.gather(*waiting))


async def test_what_was_worked_out_survives_a_refresh_that_changed_nothing() -> None:
    """A key that is read again and is the same keeps its terms."""
    office = make_office()
    key = office.add(1)
    first = await office.look(key)
    office.directory.tell(LISTENING)
    assert await office.look(key) is first
    assert office.store.queries == 2


async def test_following_takes_changes_from_the_stream() -> None:
    """Changes arrive through the stream; when it ends, the directory knows that nobody listens."""
    office = make_office(listening=False)
    key = office.add(1)
    following = asyncio.create_task(office.directory.follow(office.store.changes()))
    await asyncio.sleep(0)
    await office.look(key)
    office.store.put(key, replace(make_principal(1), key_status="revoked"))
    await asyncio.sleep(0)
    answer = await office.look(key)
    assert isinstance(answer, Caller)
    assert answer.principal.key_status == "revoked"
    following.cancel()
    await asyncio.wait([following])
    assert office.directory.recall(key) is None
