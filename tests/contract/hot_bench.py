"""Hot copies on a bench: how tests ask them, and what they compare."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from billing.reservations import Admission, Budget, Hold, Publication, Truth, Used
from billing.stores.memory import LOAD_RIGHT_S, MemoryHotStore
from billing.stores.protocol import Absent, HotStore
from billing.stores.redis_client import RedisClient
from billing.stores.redis_hot import RedisHotStore

EPOCH = 7
EXPIRES_S = 1_760_000_600
DEADLINE_S = 5.0
WORKERS = 2
A, B = "0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"
Answer = Admission | Absent


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class HotBench:
    """A hot copy as several workers see it, and what a test may do to it."""

    workers: Sequence[HotStore]
    flush: Callable[[], Awaitable[None]]
    let_rights_end: Callable[[], Awaitable[None]]
    wait: Callable[[float], Awaitable[None]]
    unreachable: HotStore

    @property
    def store(self) -> HotStore:
        return self.workers[0]


def memory_bench(new_token: Callable[[], str]) -> HotBench:
    """Memory, whose workers share one process."""
    clock = Clock()
    store, away = MemoryHotStore(clock, new_token), MemoryHotStore(clock, new_token)
    away.away = True

    async def flush() -> None:
        store.flush()

    async def wait(seconds_s: float) -> None:
        clock.now_s += seconds_s

    async def let_rights_end() -> None:
        await wait(LOAD_RIGHT_S)

    return HotBench([store] * WORKERS, flush, let_rights_end, wait, away)


def redis_bench(
    clients: Sequence[RedisClient], nobody: RedisClient, new_token: Callable[[], str]
) -> HotBench:
    """Redis, each worker with a client of its own."""

    async def flush() -> None:
        await clients[0].flushall()
        await clients[0].script_flush()

    async def let_rights_end() -> None:
        await asyncio.sleep(LOAD_RIGHT_S + 0.1)

    workers = [RedisHotStore(client, new_token, DEADLINE_S) for client in clients]
    away = RedisHotStore(nobody, new_token, DEADLINE_S)
    return HotBench(workers, flush, let_rights_end, asyncio.sleep, away)


def hold(ident: str, amount: int = 0, *budgets: Budget, account: str = A) -> Hold:
    """A request for credits and shares of budgets."""
    return Hold(ident, account, amount, EXPIRES_S, budgets)


def truth(
    posted: int = 0,
    *,
    overdraft: int = 0,
    version: int = 1,
    used: Sequence[Used] = (),
    pending: Sequence[Hold] = (),
    account: str = A,
) -> Truth:
    """What Postgres says of an account."""
    live = [(one.reservation_id, one.record()) for one in pending]
    return Truth(account, posted, overdraft, version, used, live)


def said(
    posted: int,
    version: int,
    *ended: str,
    used: tuple[Used, ...] = (),
    overdraft: int = 0,
    account: str = A,
) -> Publication:
    """What a settlement publishes."""
    return Publication(account, posted, overdraft, version, used, ended)


def flight(limit: int) -> Budget:
    """One request of at most so many at once."""
    return Budget("flight:llm", 0, limit, 1)


def units(amount: int, limit: int = 10, window_s: int = 100) -> Budget:
    """Units of a period's quota."""
    return Budget("units:llm", window_s, limit, amount)


async def ask(store: HotStore, one: Hold, epoch: int = EPOCH) -> Answer:
    """Ask for one hold."""
    (answer,) = await store.admit(epoch, [one])
    return answer


async def right_to_load(store: HotStore, account: str = A, epoch: int = EPOCH) -> str:
    """Ask until the right to load an account is had."""
    answer = await ask(store, hold("probe", account=account), epoch)
    assert isinstance(answer, Absent)
    assert answer.mine
    return answer.token


async def build(store: HotStore, *truths: Truth, epoch: int = EPOCH) -> None:
    """Build copies as a worker does on the first request of each account."""
    for one in truths:
        token = await right_to_load(store, one.account_id, epoch)
        assert await store.load(epoch, [(token, one)]) == [True]


async def copy_of(store: HotStore, account: str = A) -> Truth:
    """What the hot copy says of an account, in canonical order."""
    found = (await store.read([account]))[account]
    used = sorted(Used(*one) for one in found.used)
    return Truth(
        account,
        found.posted_nanos,
        found.overdraft_nanos,
        found.version,
        used,
        sorted((ident, record) for ident, record in found.pending),
        tuple(sorted(found.leases)),
    )
