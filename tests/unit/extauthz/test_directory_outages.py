"""The directory while Postgres is away, slow, or broken, and when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from billing.errors import StoreUnavailable
from billing.keys import hash_key
from billing.refusals import Refusal
from billing.stores.memory import MemoryPrincipalStore
from billing.stores.protocol import Change
from billing.subscriptions import Principal
from extauthz.directory import Caller, Directory
from tests.unit.extauthz.front_door import LISTENING, make_key, make_principal
from tests.unit.extauthz.office import LIMITS, LOST, Office, SlowStore, make_office


async def cut_off(count: int) -> tuple[Office, list[bytes]]:
    """An office that knew so many keys before Postgres went away."""
    office = make_office()
    keys = [office.add(number) for number in range(count)]
    for key in keys:
        await office.look(key)
    office.directory.tell(LOST)
    office.store.away = True
    return office, keys


async def test_a_known_change_is_not_served_even_while_postgres_is_away() -> None:
    """Better no answer than one that is known to be wrong."""
    office = make_office()
    key = office.add(1)
    await office.look(key)
    office.directory.tell(Change("key", make_principal(1).account_id))
    office.store.away = True
    assert await office.code(key) == "authorization_unavailable"


async def test_after_a_loss_everything_is_read_again_before_it_is_served() -> None:
    """With Postgres in reach, nobody is served what may have changed unheard."""
    office = make_office()
    key = office.add(1)
    await office.look(key)
    office.directory.tell(LOST)
    office.store.put(key, replace(make_principal(1), account_status="suspended"))
    answer = await office.look(key)
    assert isinstance(answer, Caller)
    assert (answer.principal.account_status, answer.stale) == ("suspended", False)


async def test_while_nobody_listens_entries_live_a_second() -> None:
    """A key that is read while the stream is broken is read again after a second."""
    office = make_office(listening=False)
    key = office.add(1)
    for _ in range(2):
        await office.look(key)
        office.clock.forward(0.9)
        await office.look(key)
        office.clock.forward(0.2)
    assert office.store.queries == 2
    office.directory.tell(LISTENING)
    await office.look(key)
    office.clock.forward(200)
    await office.look(key)
    assert office.store.queries == 3


async def test_stale_entries_are_served_while_postgres_is_away_but_not_for_ever() -> None:
    """Known keys go on being served up to the setting after the loss, and no longer."""
    office = make_office()
    key = office.add(1)
    await office.look(key)
    office.clock.forward(10)
    office.directory.tell(LOST)
    office.store.away = True
    codes = []
    for _ in range(13):
        codes.append(await office.code(key))
        await asyncio.sleep(0)
        office.clock.forward(5)
    assert codes == ["stale"] * 12 + ["authorization_unavailable"]
    assert office.counts.stale == 12


async def test_an_earlier_loss_counts_for_what_was_not_read_since() -> None:
    """An entry that survived one loss unread is as old as that loss when the next one comes."""
    office = make_office()
    quiet, busy = office.add(1), office.add(2)
    await office.look(quiet)
    await office.look(busy)
    office.directory.tell(LISTENING)
    await office.look(busy)
    office.clock.forward(61)
    office.directory.tell(LOST)
    office.store.away = True
    assert await office.code(busy) == "stale"
    assert await office.code(quiet) == "authorization_unavailable"


async def test_an_old_entry_is_read_again_and_served_while_that_cannot_be() -> None:
    """Past its age an entry is read again; while Postgres is away it is served a minute more."""
    office = make_office()
    key = office.add(1)
    await office.look(key)
    office.clock.forward(299)
    await office.look(key)
    assert office.store.queries == 1
    office.clock.forward(1)
    assert await office.code(key) == "known"
    assert office.store.queries == 2
    office.clock.forward(5000)
    office.store.away = True
    assert await office.code(key) == "stale"
    office.clock.forward(59)
    assert await office.code(key) == "stale"
    office.clock.forward(1)
    assert await office.code(key) == "authorization_unavailable"


async def test_each_silence_of_postgres_is_counted_anew() -> None:
    """An outage that is over takes nothing from the time that is served during the next one."""
    office = make_office()
    key = office.add(1)
    for _ in range(2):
        await office.look(key)
        office.clock.forward(400)
        office.store.away = True
        assert await office.code(key) == "stale"
        office.clock.forward(59)
        assert await office.code(key) == "stale"
        office.store.away = False
        office.clock.forward(0.25)
        while office.directory.state().away:
            await office.look(key)
            await asyncio.sleep(0)
    assert await office.code(key) == "known"


async def test_an_away_postgres_is_tried_by_one_query_at_a_time() -> None:
    """Within the pause nobody asks; a thousand checks of stale and of new keys cost one query."""
    office, keys = await cut_off(10)
    assert await office.code(keys[0]) == "stale"
    before = office.store.queries
    for number in range(500):
        assert await office.code(keys[number % 10]) == "stale"
        assert await office.code(hash_key(make_key(1000 + number))) == "authorization_unavailable"
        await asyncio.sleep(0)
    assert office.store.queries == before
    office.clock.forward(0.25)
    for key in keys:
        assert await office.code(key) == "stale"
    await asyncio.sleep(0)
    assert office.store.queries == before + 1


async def test_once_postgres_is_back_everything_is_fresh_again() -> None:
    """The first try that succeeds ends the time of stale answers."""
    office, keys = await cut_off(3)
    assert await office.code(keys[0]) == "stale"
    assert office.directory.state().away
    office.store.away = False
    office.clock.forward(0.25)
    assert await office.code(keys[0]) == "stale", "it is served at once, and asked for behind it"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not office.directory.state().away
    assert [await office.code(key) for key in keys] == ["known"] * 3


async def test_an_answer_that_was_waited_for_is_not_stale() -> None:
    """A key that was served stale and is read again is known as any other."""
    office, keys = await cut_off(2)
    assert [await office.code(key) for key in keys] == ["stale"] * 2
    office.store.away = False
    office.clock.forward(0.25)
    assert await office.code(keys[0]) == "stale"
    while office.directory.state().away:
        await asyncio.sleep(0)
    found = await office.directory.find(keys[1])
    assert isinstance(found, Caller)
    assert not found.stale


async def test_who_listens_again_knows_that_postgres_is_back() -> None:
    """Nobody asked since the outage; when changes are told again, all who come with a new key are
    answered, not the first one alone."""
    office, keys = await cut_off(1)
    assert await office.code(keys[0]) == "stale"
    office.store.away = False
    office.directory.tell(LISTENING)
    fresh = office.add(7)
    codes = await asyncio.gather(*(office.code(fresh) for _ in range(8)))
    assert codes == ["known"] * 8


async def test_all_who_come_with_one_key_share_its_try() -> None:
    """Before anybody listens again one query is tried: who wants the same key waits for it."""
    office, keys = await cut_off(1)
    assert await office.code(keys[0]) == "stale"
    office.store.away = False
    office.clock.forward(0.25)
    fresh = office.add(7)
    codes = await asyncio.gather(*(office.code(fresh) for _ in range(8)))
    assert codes == ["known"] * 8


async def test_nobody_joins_a_try_that_hangs() -> None:
    """While one query tries whether Postgres is back, a new key is refused at once."""
    office = make_office()
    slow = SlowStore(office.store)
    directory = Directory(slow, LIMITS, office.counts, office.clock)
    slow.gate.set()
    office.store.away = True
    first, second = office.add(1), office.add(2)
    assert isinstance(await directory.find(first), Refusal)
    slow.gate.clear()
    office.clock.forward(0.25)
    trying = asyncio.create_task(directory.find(first))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    office.clock.forward(10)
    assert isinstance(await directory.find(second), Refusal)
    assert not trying.done()
    assert slow.asked == [[first], [first]]
    slow.gate.set()
    await trying


async def test_a_query_that_hangs_is_given_up() -> None:
    """Who waits for a store that does not answer hears so at the deadline."""
    office = make_office()
    limits = replace(LIMITS, query_deadline_s=0, lookup_deadline_s=10)
    directory = Directory(SlowStore(office.store), limits, office.counts, office.clock)
    answer = await directory.find(office.add(1))
    assert isinstance(answer, Refusal)
    assert answer.kind.code == "authorization_unavailable"
    assert (office.counts.queries_failed, office.counts.unavailable) == (1, 1)


async def test_nobody_waits_longer_than_the_lookup_deadline() -> None:
    """A check stops waiting for a query that is still under way; the query goes on."""
    office = make_office()
    slow = SlowStore(office.store)
    limits = replace(LIMITS, query_deadline_s=10, lookup_deadline_s=0)
    directory = Directory(slow, limits, office.counts, office.clock)
    key = office.add(1)
    answer = await directory.find(key)
    assert isinstance(answer, Refusal)
    assert answer.kind.code == "authorization_unavailable"
    slow.gate.set()
    while directory.state().waiting:
        await asyncio.sleep(0)
    assert isinstance(directory.recall(key), Caller)


class BrokenStore(SlowStore):
    """A store with a fault of its own."""

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        raise ZeroDivisionError(len(key_hashes))


async def test_a_fault_of_the_store_is_heard_by_all_who_wait() -> None:
    """A fault is no answer: everyone gets it, and the next check asks anew."""
    office = make_office()
    directory = Directory(BrokenStore(office.store), LIMITS, office.counts, office.clock)
    key = office.add(1)
    results = await asyncio.gather(*(directory.find(key) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 3
    with pytest.raises(ZeroDivisionError):
        await directory.find(key)


async def test_closing_refuses_whoever_still_waits() -> None:
    """At the end of the program nobody is left hanging."""
    office = make_office()
    directory = Directory(SlowStore(office.store), LIMITS, office.counts, office.clock)
    waiting = asyncio.create_task(directory.find(office.add(1)))
    await asyncio.sleep(0)
    await directory.close()
    answer = await waiting
    assert isinstance(answer, Refusal)
    assert answer.kind.code == "authorization_unavailable"
    await directory.close()


async def test_the_store_in_memory_tells_that_it_is_away() -> None:
    """These tests stand on a store that fails as the real one does."""
    store = MemoryPrincipalStore()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await store.find([])
