"""The directory: one query for many who wait, bounds, and what is served while Postgres is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from billing.errors import StoreUnavailable
from billing.keys import hash_key
from billing.refusals import Refusal
from billing.stores.memory import MemoryPrincipalStore
from billing.stores.protocol import Change
from billing.subscriptions import Principal
from extauthz.counts import DirectoryCounts
from extauthz.directory import Caller, Directory
from extauthz.limits import DirectoryLimits
from tests.unit.extauthz.front_door import LISTENING, Clock, make_key, make_principal

LOST = Change("lost", detail="away")
LIMITS = DirectoryLimits(
    max_age_s=300, stale_max_s=60, recheck_s=1, unknown_ttl_s=5, retry_s=0.25, max_query_keys=50
)


class SlowStore:
    """A store that answers when the test lets it, and remembers what it was asked."""

    def __init__(self, inner: MemoryPrincipalStore) -> None:
        self._inner = inner
        self.asked: list[list[bytes]] = []
        self.gate = asyncio.Event()

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        self.asked.append(list(key_hashes))
        await self.gate.wait()
        return await self._inner.find(key_hashes)

    def changes(self) -> AsyncIterator[Change]:
        return self._inner.changes()


@dataclass
class Office:
    """A directory over a store in memory; it listens unless a test says otherwise."""

    clock: Clock
    store: MemoryPrincipalStore
    counts: DirectoryCounts
    directory: Directory

    def add(self, number: int) -> bytes:
        """A key of its own account; its hash."""
        key_hash = hash_key(make_key(number))
        self.store.put(key_hash, make_principal(number))
        return key_hash

    async def look(self, key_hash: bytes) -> Caller | Refusal:
        """What a check does: memory first, then Postgres."""
        return self.directory.recall(key_hash) or await self.directory.find(key_hash)

    async def code(self, key_hash: bytes) -> str:
        """``known``, ``stale``, or the code of the refusal."""
        answer = await self.look(key_hash)
        if isinstance(answer, Refusal):
            return answer.kind.code
        return "stale" if answer.stale else "known"


def make_office(limits: DirectoryLimits = LIMITS, *, listening: bool = True) -> Office:
    clock, store, counts = Clock(), MemoryPrincipalStore(), DirectoryCounts()
    directory = Directory(store, limits, counts, clock)
    if listening:
        directory.tell(LISTENING)
    return Office(clock, store, counts, directory)


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


async def test_a_known_change_is_not_served_even_while_postgres_is_away() -> None:
    """Better no answer than one that is known to be wrong."""
    office = make_office()
    key = office.add(1)
    await office.look(key)
    office.directory.tell(Change("key", make_principal(1).account_id))
    office.store.away = True
    assert await office.code(key) == "authorization_unavailable"


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


async def test_an_away_postgres_is_tried_by_one_query_at_a_time() -> None:
    """Within the pause nobody asks; a thousand checks of stale and of new keys cost one query."""
    office = make_office()
    keys = [office.add(number) for number in range(10)]
    for key in keys:
        await office.look(key)
    office.directory.tell(LOST)
    office.store.away = True
    assert await office.code(keys[0]) == "stale"
    before = office.store.queries
    for number in range(500):
        assert await office.code(keys[number % 10]) == "stale"
        assert await office.code(hash_key(make_key(1000 + number))) == "authorization_unavailable"
    assert office.store.queries == before
    office.clock.forward(0.25)
    for key in keys:
        assert await office.code(key) == "stale"
    await asyncio.sleep(0)
    assert office.store.queries == before + 1


async def test_once_postgres_is_back_everything_is_fresh_again() -> None:
    """The first try that succeeds ends the time of stale answers."""
    office = make_office()
    keys = [office.add(number) for number in range(3)]
    for key in keys:
        await office.look(key)
    office.directory.tell(LOST)
    office.store.away = True
    assert await office.code(keys[0]) == "stale"
    assert office.directory.state().away
    office.store.away = False
    office.directory.tell(LISTENING)
    office.clock.forward(0.25)
    assert await office.code(keys[0]) == "stale", "it is served at once, and asked for behind it"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not office.directory.state().away
    assert [await office.code(key) for key in keys] == ["known"] * 3


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
