"""Random steps: every hot copy answers as the plain integers in memory do."""

import itertools
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from billing.reservations import (
    Budget,
    Hold,
    Truth,
    Used,
)
from billing.stores.memory import MemoryHotStore
from billing.stores.protocol import Absent, HotStore
from tests.contract.hot_bench import (
    EXPIRES_S,
    A,
    B,
    Clock,
    HotBench,
    ask,
    copy_of,
    said,
)


class Steps:
    """Random steps of one seed, the same for every store."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._epoch = 1
        self._version = 1

    async def take(self, stores: Sequence[HotStore], flush: Callable[[], Awaitable[None]]) -> None:
        """One step on each store, whose answers must be the same."""
        step = self._random.choices(
            [self._admit, self._publish, self._extend, self._raise_epoch], [12, 5, 2, 1]
        )[0]
        if self._random.random() < 0.02:
            await flush()
        answers = [await call for call in step(stores)]
        assert all(answer == answers[0] for answer in answers), (step.__name__, answers)
        copies = [
            {account: await copy_of(store, account) for account in await store.read([A, B])}
            for store in stores
        ]
        assert all(copy == copies[0] for copy in copies), (step.__name__, copies)

    def _admit(self, stores: Sequence[HotStore]) -> list[Awaitable[object]]:
        holds = [self._hold() for _ in range(self._random.randint(1, 4))]
        epoch = self._epoch - (self._random.random() < 0.1)
        copies = {account: self._truth(account) for account in (A, B)}
        return [_admit_or_load(store, epoch, holds, copies) for store in stores]

    def _publish(self, stores: Sequence[HotStore]) -> list[Awaitable[object]]:
        self._version += 1
        version = max(1, self._version - self._random.choice([0, 0, 0, 1, 2]))
        ended = tuple(self._ident() for _ in range(self._random.randint(0, 3)))
        posted = self._random.randint(-50, 300)
        publication = said(posted, version, *ended, used=self._used(), account=self._account())
        return [store.publish([publication]) for store in stores]

    def _extend(self, stores: Sequence[HotStore]) -> list[Awaitable[object]]:
        life = (self._account(), self._ident(), EXPIRES_S + self._random.randint(-9, 99))
        return [store.extend([life]) for store in stores]

    def _raise_epoch(self, stores: Sequence[HotStore]) -> list[Awaitable[object]]:
        self._epoch += 1
        return [store.read([]) for store in stores]

    def _hold(self) -> Hold:
        kinds = self._random.sample(["units:llm", "period:llm", "flight:rpc"], k=2)
        budgets = tuple(
            Budget(
                kind, self._window(kind), self._random.randint(5, 30), self._random.randint(0, 9)
            )
            for kind in kinds
        )
        amount = self._random.choice([0, 1, 20, 50, 120])
        return Hold(self._ident(), self._account(), amount, EXPIRES_S, budgets)

    def _truth(self, account: str) -> Truth:
        live = {self._ident(): self._hold() for _ in range(self._random.randint(0, 2))}
        pending = [(ident, one.record()) for ident, one in live.items()]
        posted = self._random.randint(0, 300)
        return Truth(account, posted, 10, self._version, self._used(), pending)

    def _used(self) -> tuple[Used, ...]:
        names = self._random.sample(["units:llm", "period:llm"], k=self._random.randint(0, 2))
        return tuple(Used(name, self._window(name), self._random.randint(0, 20)) for name in names)

    def _window(self, name: str) -> int:
        return 0 if name.startswith("flight") else self._random.choice([100, 200, 200, 300])

    def _ident(self) -> str:
        return f"r{self._random.randint(0, 12)}"

    def _account(self) -> str:
        return self._random.choice([A, B])


async def _admit_or_load(
    store: HotStore, epoch: int, holds: Sequence[Hold], copies: dict[str, Truth]
) -> list[object]:
    """Ask, load where there is the right to, and tell everything but the tokens."""
    answers: list[object] = []
    for one in holds:
        answer = await ask(store, one, epoch)
        if isinstance(answer, Absent) and answer.mine:
            answers.append(await store.load(epoch, [(answer.token, copies[one.account_id])]))
        answers.append(answer.mine if isinstance(answer, Absent) else answer)
    return answers


@pytest.mark.parametrize("seed", range(12))
async def test_step_by_step_as_memory_does(hot: HotBench, seed: int) -> None:
    """Random steps get the same answers, and leave the same copies, as the plain integers do."""
    tokens = (f"other-{number}" for number in itertools.count())
    plain = MemoryHotStore(Clock(), lambda: next(tokens))

    async def flush() -> None:
        plain.flush()
        await hot.flush()

    steps = Steps(seed)
    for _ in range(60):
        await steps.take([plain, hot.store], flush)
