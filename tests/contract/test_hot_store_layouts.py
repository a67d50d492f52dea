"""Two versions of Tollkeeper on one Redis: neither takes a copy of the other for its own."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from billing.reservations import (
    CREDITS,
    Admitted,
    Budget,
    Hold,
    Publication,
    Short,
    Truth,
    Used,
)
from billing.stores.memory import MemoryHotStore
from billing.stores.protocol import Absent, HotStore
from billing.stores.redis_client import CLUSTER_SCHEME, connect
from billing.stores.redis_hot import RedisHotStore
from tests.contract.first_layout.store import FirstHotStore
from tests.contract.front_workers import Front, front, open_account, race
from tests.contract.hot_bench import (
    DEADLINE_S,
    EPOCH,
    EXPIRES_S,
    A,
    Answer,
    Clock,
    ask,
    build,
    copy_of,
    flight,
    hold,
    right_to_load,
    said,
    truth,
    units,
)


@dataclass(frozen=True)
class Versions:
    """The same Redis as the version before has it, and as this one does."""

    first: FirstHotStore
    now: RedisHotStore

    def both(self, builder: str) -> tuple[HotStore, HotStore]:
        """The store of the version that builds a copy, and the other one."""
        return (self.first, self.now) if builder == "first" else (self.now, self.first)


@pytest.fixture(params=["redis", "redis_cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """A single Redis and a Cluster of three masters."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found.replace("redis://", CLUSTER_SCHEME) if "cluster" in request.param else found


@pytest.fixture
async def versions(url: str) -> AsyncIterator[Versions]:
    """A worker of each version on a flushed Redis."""
    clients = [connect(url, DEADLINE_S) for _ in range(2)]
    await clients[0].flushall()
    tokens = (f"token-{number}" for number in range(1_000_000))

    def new_token() -> str:
        return next(tokens)

    yield Versions(
        FirstHotStore(clients[0], new_token, DEADLINE_S),
        RedisHotStore(clients[1], new_token, DEADLINE_S),
    )
    for client in clients:
        await client.aclose()


BUILDERS = pytest.mark.parametrize("builder", ["first", "now"])


@BUILDERS
async def test_a_copy_of_the_other_layout_is_no_copy(versions: Versions, builder: str) -> None:
    """Who finds one gets the right to load it anew, and until then nobody is admitted on it."""
    one, other = versions.both(builder)
    await build(one, truth(100, version=3, used=[Used("units:llm", 100, 4)]))
    assert await ask(one, hold("r", 60, units(2))) == Admitted(40)
    token = await right_to_load(other)
    waiting = await ask(one, hold("s", 1))
    assert isinstance(waiting, Absent)
    assert not waiting.mine
    assert await one.load(EPOCH, [("never given", truth(5))]) == [False]
    live = [hold("r", 60, units(2))]
    anew = truth(100, version=3, used=[Used("units:llm", 100, 4)], pending=live)
    assert await other.load(EPOCH, [(token, anew)]) == [True]
    assert await ask(other, hold("s", 41)) == Short(CREDITS, 40, 41)
    assert await ask(other, hold("s", 0, units(5))) == Short("units:llm", 4, 10)
    assert await ask(other, hold("s", 40, units(4))) == Admitted(0)


@BUILDERS
@pytest.mark.parametrize(
    "publication",
    [
        said(70, 9, "r"),
        said(70, 9),
        said(999, 1, "r"),
        said(0, 0, "r"),
        said(100, 2),
        said(100, 2, "never held", used=(Used("units:llm", 100, 9),)),
    ],
)
async def test_a_copy_that_the_other_version_told_of_an_end_is_void(
    versions: Versions, builder: str, publication: Publication
) -> None:
    """It cannot have heard it all, whatever was said, so it is built anew by whoever asks next."""
    one, other = versions.both(builder)
    await build(one, truth(100, version=2))
    await ask(one, hold("r", 60, units(2)))
    await other.publish([publication])
    assert await versions.now.read([A]) == {}
    for store in (versions.now, versions.first):
        answer = await ask(store, hold("s", 1))
        assert isinstance(answer, Absent)
        assert answer.mine is (store is versions.now)


async def test_a_void_copy_is_void_for_the_version_before(versions: Versions) -> None:
    """What the version before told a copy of now is not taken by it for one of its own."""
    await build(versions.now, truth(100, version=2))
    await versions.first.publish([said(70, 9, used=(Used("units:llm", 100, 9),))])
    await build(versions.first, truth(70, version=9))
    assert await ask(versions.first, hold("s", 71)) == Short(CREDITS, 70, 71)


async def test_the_next_publication_clears_a_void_copy(versions: Versions) -> None:
    """Its end is told to nobody."""
    await build(versions.now, truth(100, version=2))
    await versions.first.publish([said(70, 9)])
    await versions.now.publish([said(60, 10)])
    await build(versions.now, truth(60, version=10))
    assert await copy_of(versions.now) == truth(60, version=10, used=[])


@BUILDERS
async def test_a_publication_stops_a_load_of_the_other_version(
    versions: Versions, builder: str
) -> None:
    """The loader may have read before the settlement, whichever version told of it."""
    one, other = versions.both(builder)
    token = await right_to_load(one)
    await other.publish([said(40, 2, "r")])
    assert await one.load(EPOCH, [(token, truth(100))]) == [False]


@BUILDERS
async def test_a_life_that_the_other_version_extends_stays_as_it_is(
    versions: Versions, builder: str
) -> None:
    """Postgres knows the new end, and asks nothing of the copy; the hold is as it was."""
    one, other = versions.both(builder)
    await build(one, truth(100))
    live = hold("r", 60, units(2), flight(2))
    await ask(one, live)
    await other.extend([(A, "r", EXPIRES_S + 30)])
    assert await copy_of(one) == truth(
        100, used=[Used("flight:llm", 0, 0), Used("units:llm", 100, 0)], pending=[live]
    )
    await one.publish([said(100, 2, "r")])
    assert await ask(one, hold("s", 100, units(10), flight(1))) == Admitted(0)


async def test_a_newer_epoch_of_the_layout_before_is_waited_for(versions: Versions) -> None:
    """A worker that has not heard of the new epoch does not rebuild what others built in it."""
    await build(versions.first, truth(100), epoch=EPOCH + 1)
    answer = await ask(versions.now, hold("r", 1), EPOCH)
    assert isinstance(answer, Absent)
    assert not answer.mine
    assert await ask(versions.first, hold("s", 100), EPOCH + 1) == Admitted(0)


@dataclass
class Books:
    """What Postgres would say of one account, where every hold is journaled at once."""

    posted: int = 300
    version: int = 1
    used: dict[str, int] = field(default_factory=lambda: {"units:llm": 0, "period:llm": 0})
    live: dict[str, Hold] = field(default_factory=dict)

    def truth(self) -> Truth:
        used = [Used(name, 100, amount) for name, amount in self.used.items()]
        return truth(self.posted, version=self.version, used=used, pending=list(self.live.values()))

    def end(self, ident: str, cost: int) -> Publication:
        """Settle a live reservation at a cost that may be above what it held."""
        self.live.pop(ident)
        self.posted -= cost
        self.used["period:llm"] += cost
        self.used["units:llm"] += 1
        return self.publication(ident)

    def publication(self, *ended: str) -> Publication:
        self.version += 1
        used = tuple(Used(name, 100, amount) for name, amount in self.used.items())
        return said(self.posted, self.version, *ended, used=used)

    async def expected(self, asked: Hold) -> Answer:
        """The answer of a copy that was built just now."""
        plain = MemoryHotStore(Clock(), lambda: "token")
        await build(plain, self.truth())
        return await ask(plain, asked)


class Mixture:
    """Random steps through either version, against the books."""

    def __init__(self, stores: Sequence[HotStore], seed: int) -> None:
        self._stores = stores
        self._random = random.Random(seed)
        self._told: list[Publication] = []
        self.books = Books()
        self.built = {type(store): 0 for store in stores}

    async def step(self, number: int) -> None:
        store = self._random.choice(self._stores)
        kind = self._random.choices(["hold", "end", "again", "top up", "extend"], [10, 6, 3, 1, 1])
        live = list(self.books.live)
        if kind == ["hold"]:
            await self._hold(store, number)
        elif kind == ["end"] and live:
            ended = self.books.end(self._random.choice(live), self._random.randint(0, 9))
            await self._tell(store, ended)
        elif kind == ["again"] and self._told:
            await store.publish([self._random.choice(self._told)])
        elif kind == ["top up"]:
            self.books.posted += self._random.randint(1, 60)
            await self._tell(store, self.books.publication())
        elif kind == ["extend"] and live:
            await store.extend([(A, self._random.choice(live), EXPIRES_S + number)])

    async def _hold(self, store: HotStore, number: int) -> None:
        shares = (
            Budget("units:llm", 100, 60, self._random.randint(0, 4)),
            Budget("period:llm", 100, 200, self._random.randint(0, 30)),
            flight(self._random.randint(1, 8)),
        )
        asked = hold(f"r{number}", self._random.randint(0, 60), *shares)
        expected = await self.books.expected(asked)
        answer = await ask(store, asked)
        if isinstance(answer, Absent):
            assert answer.mine
            assert await store.load(EPOCH, [(answer.token, self.books.truth())]) == [True]
            self.built[type(store)] += 1
            answer = await ask(store, asked)
        assert answer == expected
        if isinstance(answer, Admitted):
            self.books.live[asked.reservation_id] = asked

    async def _tell(self, store: HotStore, publication: Publication) -> None:
        self._told.append(publication)
        await store.publish([publication])


@pytest.mark.parametrize("seed", range(4))
async def test_each_answer_is_right_whichever_version_gives_it(
    versions: Versions, seed: int
) -> None:
    """Holds, ends and old news through both versions in turns: as if each copy were just built."""
    mixture = Mixture([versions.first, versions.now], seed)
    for number in range(150):
        await mixture.step(number)
    assert min(mixture.built.values()) > 5


async def test_workers_of_both_versions_share_a_balance(database: str, url: str) -> None:
    """Requests through a worker of each, many at once and again: all are answered, and what the
    balance covers is admitted, though each takes the other's copies down."""
    account = await open_account(database, 100 * 7)
    async with front(database, url) as now, front(database, url, store=FirstHotStore) as first:
        admitted = [held for _ in range(10) for held in await race([now, first], account, 16, 7)]
        assert len(admitted) == 100
        copy = (await build_through(now, account))[account]
    assert {ident for ident, _ in copy.pending} == {held.reservation_id for held in admitted}


async def build_through(worker: Front, account: str) -> Mapping[str, Truth]:
    """The copy, after a request through a worker had it built where it was not there."""
    assert await race([worker], account, 1, 7) == []
    return await worker.hot.read([account])
