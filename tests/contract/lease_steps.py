"""Random lives of leases, the same on every hot copy, and holders that keep count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st
from msgspec.structs import replace

from billing.lease_calls import LeaseCall, Leased, Step
from billing.rate import Rate
from billing.reservations import Budget, Hold, Used
from billing.stores.protocol import Absent, HotStore
from tests.contract.hot_bench import EPOCH, EXPIRES_S, A, B, said, truth

Answered = TypeVar("Answered")
START_US = 1_760_000_000_000_000
INTERVAL_US = 20_000
BURST = 90


class Kind(NamedTuple):
    """What requests of one pool ask for."""

    account: str
    amount_nanos: int
    units: int
    window_s: int
    in_flight: bool
    paced: bool

    def hold(self, ident: str, now_us: int, part: int = 1) -> Hold:
        """One request, or one of a part of the amounts."""
        budgets = [Budget("units:llm", self.window_s, 900, self.units // part)]
        if self.in_flight:
            budgets.append(Budget("flight:llm", 0, 120, 1))
        rate = Rate("rate:llm", INTERVAL_US, BURST, now_us) if self.paced else None
        amount_nanos = self.amount_nanos // part
        return Hold(ident, self.account, amount_nanos, EXPIRES_S, tuple(budgets), rate)


class Ask(NamedTuple):
    """Admit a request; ``times`` its amounts."""

    kind: Kind
    times: int


class Open(NamedTuple):
    """Open a lease."""

    kind: Kind
    wanted: int


class Tend(NamedTuple):
    """Make a call about a lease that stands: with so many draws, for more, the same once again, or
    in another epoch."""

    which: int
    draws: int
    part: int
    wanted: int
    again: bool
    other_epoch: bool
    close: bool


class Publish(NamedTuple):
    """Tell of ends, counted from the next id on; those below 0 have been used."""

    account: str
    posted_nanos: int
    ended: Sequence[int]
    used: int
    window_s: int


class Later(NamedTuple):
    """Let time pass: never to within 50 ms of a bound."""

    after_ms: int


class Rebuild(NamedTuple):
    """Forget a copy, and build it from a truth that has a lease's draws pending."""

    account: str
    posted_nanos: int


Happening = Ask | Open | Tend | Publish | Later | Rebuild
accounts = st.sampled_from([A, B])
kinds = st.builds(
    Kind,
    accounts,
    st.sampled_from([0, 1, 7, 2**40]),
    st.sampled_from([0, 3]),
    st.sampled_from([100, 100, 100, 200]),
    st.booleans(),
    st.booleans(),
)
balances = st.sampled_from([-3, 1500, 2**46, 2**53 + 9, 2**61])
happenings = st.one_of(
    st.builds(Ask, kinds, st.sampled_from([1, 1, 400])),
    st.builds(Open, kinds, st.sampled_from([0, 1, 5, 400])),
    *[
        st.builds(
            Tend,
            st.integers(0, 9),
            st.integers(0, 4),
            st.sampled_from([1, 2]),
            st.sampled_from([0, 3, 400]),
            st.booleans(),
            st.sampled_from([False, False, False, True]),
            st.sampled_from([False, False, False, True]),
        )
    ]
    * 4,
    st.builds(
        Publish,
        accounts,
        balances,
        st.lists(st.integers(-9, 3), max_size=4),
        st.sampled_from([0, 0, 0, 40, 500, 901]),
        st.sampled_from([100, 100, 100, 200]),
    ),
    st.builds(Later, st.sampled_from([150, 700])),
    st.builds(Rebuild, accounts, balances),
)


@dataclass
class Holder:
    """A holder, and what it may still draw."""

    lease_id: str
    kind: Kind
    number: int = 1
    left: list[int] = field(default_factory=list)
    turns: int = 0
    last: LeaseCall | None = None

    def grow(self, granted: int, now_us: int) -> None:
        """Take what was granted."""
        more = _amounts(self.kind.hold("", now_us))
        self.left = [
            have + granted * one for have, one in zip(self.left or [0] * 9, more, strict=False)
        ]
        self.turns += granted if self.kind.paced else 0

    def draw(self, hold: Hold) -> bool:
        """Admit a request, if it is there."""
        left = [have - one for have, one in zip(self.left, _amounts(hold), strict=True)]
        if min(left) < 0 or (hold.rate is not None and not self.turns):
            return False
        self.left = left
        self.turns -= hold.rate is not None
        return True


def _amounts(hold: Hold) -> list[int]:
    return [hold.amount_nanos, *[budget.amount for budget in hold.budgets]]


class Lives:
    """Makes the same happen to every store, and asserts that all of them say the same."""

    def __init__(self, stores: Sequence[HotStore], later: Callable[[int], Awaitable[None]]) -> None:
        self._stores = stores
        self._later = later
        self._holders: list[Holder] = []
        self._made = 0
        self._version = 1
        self._now_us = START_US

    async def happen(self, what: Happening) -> None:
        """One step."""
        match what:
            case Ask(kind, times):
                bigger = kind._replace(
                    amount_nanos=kind.amount_nanos * times, units=kind.units * times
                )
                asked = [bigger.hold(self._ident(), self._now_us)]
                await self._same(lambda store: _admitted(store, asked))
            case Open(kind, wanted):
                await self._open(kind, wanted)
            case Tend():
                if self._holders:
                    await self._tend(self._holders[what.which % len(self._holders)], what)
            case Publish():
                await self._publish(what)
            case Later(after_ms):
                self._now_us += after_ms * 1000
                await self._later(after_ms)
            case Rebuild(account, posted_nanos):
                await self.build(account, posted_nanos)

    async def build(self, account: str, posted_nanos: int) -> None:
        """A copy anew, in every store."""
        one = truth(posted_nanos, version=self._version, account=account)
        for store in self._stores:
            await store.drop([account])
            (absent,) = await store.admit(EPOCH, [Hold("", account, 0, 0)])
            assert isinstance(absent, Absent)
            assert await store.load(EPOCH, [(absent.token, one)]) == [True]

    async def _open(self, kind: Kind, wanted: int) -> None:
        holder = Holder(f"l{self._made}", kind)
        self._made += 1
        call = self._call(holder, Step.OPEN, wanted)
        answer = await self._told(holder, call, EPOCH)
        if answer is not None:
            self._holders.append(holder)

    async def _tend(self, holder: Holder, what: Tend) -> None:
        epoch = EPOCH + 1 if what.other_epoch else EPOCH
        if what.again and holder.last is not None:
            if await self._told(holder, holder.last, epoch) is None:
                self._holders.remove(holder)
            return
        drawn = [
            hold
            for _ in range(what.draws)
            if holder.draw(hold := holder.kind.hold(self._ident(), self._now_us, what.part))
        ]
        holder.number += 1
        step = Step.CLOSE if what.close else Step.KEEP
        call = self._call(holder, step, what.wanted, drawn)
        answer = await self._told(holder, call, epoch)
        if answer is None or step is Step.CLOSE:
            self._holders.remove(holder)

    def _call(
        self, holder: Holder, step: Step, wanted: int, draws: Sequence[Hold] = ()
    ) -> LeaseCall:
        return LeaseCall(
            holder.lease_id,
            holder.number,
            step,
            wanted,
            holder.kind.hold("", self._now_us),
            EXPIRES_S + holder.number,
            draws,
            holder.turns,
            self._now_us + 400_000,
        )

    async def _told(self, holder: Holder, call: LeaseCall, epoch: int) -> Leased | None:
        async def tend(store: HotStore) -> Leased | None:
            (answer,) = await store.tend(epoch, [call])
            return answer

        answer = await self._same(tend)
        if answer is not None:
            holder.grow(answer.granted, self._now_us)
            holder.last = replace(call, step=Step.KEEP)  # nobody opens twice
        return answer

    async def _publish(self, what: Publish) -> None:
        self._version += 1
        ended = [f"{self._made + offset:05}" for offset in what.ended]
        used = (Used("units:llm", what.window_s, what.used),)
        told = said(
            what.posted_nanos, self._version, *ended, used=used, overdraft=5, account=what.account
        )
        await self._same(lambda store: store.publish([told]))

    async def _same(self, ask: Callable[[HotStore], Awaitable[Answered]]) -> Answered:
        answers = [await ask(store) for store in self._stores]
        assert all(answer == answers[0] for answer in answers), answers
        return answers[0]

    def _ident(self) -> str:
        self._made += 1
        return f"{self._made - 1:05}"


async def _admitted(store: HotStore, asked: Sequence[Hold]) -> list[object]:
    return list(await store.admit(EPOCH, asked))
