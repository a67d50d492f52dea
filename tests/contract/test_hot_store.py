"""One suite for every hot copy (memory, Redis, Redis Cluster): what is admitted, and what not."""

import asyncio
from collections.abc import Awaitable

import pytest

from billing.errors import StoreUnavailable
from billing.reservations import (
    CREDITS,
    MAX_COUNTED,
    Admitted,
    Hold,
    Short,
    Used,
)
from billing.stores.protocol import Absent
from tests.contract.hot_bench import (
    EPOCH,
    EXPIRES_S,
    WORKERS,
    A,
    Answer,
    B,
    HotBench,
    ask,
    build,
    copy_of,
    flight,
    hold,
    said,
    truth,
    units,
)


@pytest.mark.parametrize(
    ("posted", "overdraft", "amount", "answer"),
    [
        (100, 0, 100, Admitted(0)),
        (100, 0, 101, Short(CREDITS, 100, 101)),
        (100, 50, 150, Admitted(0)),
        (100, 50, 151, Short(CREDITS, 150, 151)),
        (-20, 50, 30, Admitted(0)),
        (-20, 50, 31, Short(CREDITS, 30, 31)),
        (0, 0, 1, Short(CREDITS, 0, 1)),
        (-20, 0, 1, Short(CREDITS, -20, 1)),
        (0, 0, 0, Admitted(0)),
        (-20, 0, 0, Admitted(-20)),
    ],
)
async def test_credits_to_the_last_nano(
    hot: HotBench, posted: int, overdraft: int, amount: int, answer: Answer
) -> None:
    """The balance plus the overdraft admits exactly itself; an amount of zero always passes."""
    await build(hot.store, truth(posted, overdraft=overdraft))
    assert await ask(hot.store, hold("r", amount)) == answer


BIG = 2**62


@pytest.mark.parametrize(
    ("posted", "overdraft", "first", "second"),
    [
        (BIG - 1, 0, BIG - 2, 2),
        (BIG, 0, 1, BIG - 1),
        (BIG - 7, 3, BIG - 5, 1),
        (-(BIG - 2), BIG - 1, 1, 1),
        (2**53 + 1, 0, 2**53, 2),
        (2**53 + 3, 0, 1, 2**53 + 3),
    ],
)
async def test_amounts_beyond_a_double_are_exact(
    hot: HotBench, posted: int, overdraft: int, first: int, second: int
) -> None:
    """Near 2^62, where a double is off by hundreds, one nano still decides."""
    await build(hot.store, truth(posted, overdraft=overdraft))
    available = posted + overdraft
    assert available >= first
    assert await ask(hot.store, hold("r", first)) == Admitted(available - first)
    after = available - first
    expected = Admitted(after - second) if after >= second else Short(CREDITS, after, second)
    assert await ask(hot.store, hold("s", second)) == expected
    await hot.store.publish([said(posted, 2, "r", "s", overdraft=overdraft)])
    assert await ask(hot.store, hold("t", available)) == Admitted(0)
    assert await ask(hot.store, hold("u", 1)) == Short(CREDITS, 0, 1)


async def test_a_published_balance_beyond_a_double_is_exact(hot: HotBench) -> None:
    """Moving a copy from one great balance to another loses nothing."""
    await build(hot.store, truth(BIG - 1))
    await hot.store.publish([said(-(BIG - 3), 2, overdraft=BIG - 1)])
    assert (await copy_of(hot.store)).posted_nanos == -(BIG - 3)
    assert await ask(hot.store, hold("r", 3)) == Short(CREDITS, 2, 3)
    assert await ask(hot.store, hold("r", 2)) == Admitted(0)


async def test_holds_of_one_call_are_judged_in_order(hot: HotBench) -> None:
    """Requests that wait together are answered as if they had come one after the other."""
    await build(hot.store, truth(100), truth(10, account=B))
    asked = [
        hold("a1", 60),
        hold("b1", 10, account=B),
        hold("a2", 60),
        hold("a3", 40),
        hold("b2", 1, account=B),
    ]
    assert await hot.store.admit(EPOCH, asked) == [
        Admitted(40),
        Admitted(0),
        Short(CREDITS, 40, 60),
        Admitted(0),
        Short(CREDITS, 0, 1),
    ]


async def test_absent_and_present_accounts_in_one_call(hot: HotBench) -> None:
    """An account without a copy does not stop the others."""
    await build(hot.store, truth(100))
    absent, admitted = await hot.store.admit(EPOCH, [hold("b", 1, account=B), hold("a", 1)])
    assert isinstance(absent, Absent)
    assert absent.mine
    assert admitted == Admitted(99)


async def test_nothing_asked_is_nothing_answered(hot: HotBench) -> None:
    """Empty calls are answered, not sent."""
    assert list(await hot.store.admit(EPOCH, [])) == []
    assert list(await hot.store.load(EPOCH, [])) == []
    await hot.store.publish([])
    await hot.store.extend([])
    assert await hot.store.read([]) == {}
    await hot.store.drop([])


async def test_the_same_reservation_is_held_once(hot: HotBench) -> None:
    """A retry after a lost reply is admitted again and costs nothing more, of any budget."""
    await build(hot.store, truth(100))
    one = hold("r", 60, flight(1), units(10))
    assert await ask(hot.store, one) == Admitted(40)
    assert await ask(hot.workers[1], one) == Admitted(40)
    assert await hot.store.admit(EPOCH, [one, one]) == [Admitted(40), Admitted(40)]
    await hot.store.publish([said(100, 2, "r")])
    assert await ask(hot.store, hold("s", 100, flight(1), units(10))) == Admitted(0)


@pytest.mark.parametrize(
    ("used", "amount", "limit", "answer"),
    [
        (0, 10, 10, Admitted(5)),
        (0, 11, 10, Short("units:llm", 10, 10)),
        (4, 6, 10, Admitted(5)),
        (4, 7, 10, Short("units:llm", 6, 10)),
        (10, 0, 10, Admitted(5)),
        (12, 0, 10, Short("units:llm", -2, 10)),
        (0, 0, 0, Admitted(5)),
        (0, 1, 0, Short("units:llm", 0, 0)),
        (MAX_COUNTED - 1, 1, MAX_COUNTED, Admitted(5)),
        (MAX_COUNTED - 1, 2, MAX_COUNTED, Short("units:llm", 1, MAX_COUNTED)),
    ],
)
async def test_a_counted_budget_admits_up_to_its_limit(
    hot: HotBench, used: int, amount: int, limit: int, answer: Answer
) -> None:
    """What is used and what is asked together may reach the limit and not pass it."""
    await build(hot.store, truth(5, used=[Used("units:llm", 100, used)]))
    assert await ask(hot.store, hold("r", 0, units(amount, limit))) == answer


async def test_held_shares_count(hot: HotBench) -> None:
    """What live reservations hold of a budget is as good as used until they end."""
    await build(hot.store, truth(used=[Used("units:llm", 100, 3)]))
    assert await ask(hot.store, hold("r", 0, units(5))) == Admitted(0)
    assert await ask(hot.store, hold("s", 0, units(3))) == Short("units:llm", 2, 10)
    assert await ask(hot.store, hold("t", 0, units(2))) == Admitted(0)
    await hot.store.publish([said(0, 2, "r", used=(Used("units:llm", 100, 4),))])
    assert await ask(hot.store, hold("u", 0, units(5))) == Short("units:llm", 4, 10)
    assert await ask(hot.store, hold("u", 0, units(4))) == Admitted(0)


@pytest.mark.parametrize(
    ("asked", "short_of"),
    [
        (hold("r", 101, flight(5), units(1)), CREDITS),
        (hold("r", 100, flight(0), units(1)), "flight:llm"),
        (hold("r", 100, flight(5), units(11)), "units:llm"),
        (hold("r", 100, units(11), flight(5)), "units:llm"),
    ],
)
async def test_all_or_nothing(hot: HotBench, asked: Hold, short_of: str) -> None:
    """A request that is short of any one budget holds nothing of the others."""
    await build(hot.store, truth(100, used=[Used("units:llm", 100, 0)]))
    before = await copy_of(hot.store)
    answer = await ask(hot.store, asked)
    assert isinstance(answer, Short)
    assert answer.budget == short_of
    assert await copy_of(hot.store) == before
    assert await ask(hot.store, hold("s", 100, flight(1), units(10))) == Admitted(0)


async def test_a_new_window_has_used_nothing(hot: HotBench) -> None:
    """When the period turns, what was used and held in the one before no longer counts."""
    await build(hot.store, truth(used=[Used("units:llm", 100, 6)]))
    assert await ask(hot.store, hold("r", 0, units(4, window_s=100))) == Admitted(0)
    assert await ask(hot.store, hold("s", 0, units(10, window_s=200))) == Admitted(0)
    assert await ask(hot.store, hold("t", 0, units(1, window_s=200))) == Short("units:llm", 0, 10)


async def test_an_older_window_is_judged_by_the_newer(hot: HotBench) -> None:
    """A worker whose clock is behind at the turn cannot spend the old period's rest again."""
    await build(hot.store, truth(used=[Used("units:llm", 200, 9)]))
    assert await ask(hot.store, hold("r", 0, units(2, window_s=100))) == Short("units:llm", 1, 10)
    assert await ask(hot.store, hold("s", 0, units(1, window_s=100))) == Admitted(0)


async def test_an_end_across_the_turn_frees_no_foreign_share(hot: HotBench) -> None:
    """A reservation of the old period takes nothing from the new one when it ends."""
    await build(hot.store, truth())
    await ask(hot.store, hold("old", 0, units(8, window_s=100)))
    await ask(hot.store, hold("new", 0, units(7, window_s=200)))
    await hot.store.publish([said(0, 2, "old")])
    assert await ask(hot.store, hold("r", 0, units(4, window_s=200))) == Short("units:llm", 3, 10)


async def test_a_refused_new_window_leaves_the_old_one(hot: HotBench) -> None:
    """Who asks for a window of the future and is refused has moved nothing."""
    await build(hot.store, truth(used=[Used("units:llm", 100, 9)]))
    assert await ask(hot.store, hold("r", 0, units(11, window_s=900))) == Short("units:llm", 10, 10)
    assert await ask(hot.store, hold("s", 0, units(2, window_s=100))) == Short("units:llm", 1, 10)


async def test_requests_in_flight_come_back(hot: HotBench) -> None:
    """A place among the requests at once is free again as soon as its reservation ends."""
    await build(hot.store, truth())
    assert await ask(hot.store, hold("r", 0, flight(2))) == Admitted(0)
    assert await ask(hot.store, hold("s", 0, flight(2))) == Admitted(0)
    assert await ask(hot.store, hold("t", 0, flight(2))) == Short("flight:llm", 0, 2)
    await hot.store.publish([said(0, 2, "r"), said(0, 2, "r")])
    assert await ask(hot.store, hold("t", 0, flight(2))) == Admitted(0)
    assert await ask(hot.store, hold("u", 0, flight(2))) == Short("flight:llm", 0, 2)


async def test_many_accounts_in_one_call(hot: HotBench) -> None:
    """A call may name as many accounts as a worker gathers, wherever their copies lie."""
    accounts = [f"0198c0de-0000-7000-8000-{number:012x}" for number in range(500)]
    asked = [hold("r", 1, account=account) for account in accounts]
    absent = [
        answer for answer in await hot.store.admit(EPOCH, asked) if isinstance(answer, Absent)
    ]
    assert len(absent) == len(accounts)
    assert all(answer.mine for answer in absent)
    copies = [
        (answer.token, truth(number, account=account))
        for number, (account, answer) in enumerate(zip(accounts, absent, strict=True))
    ]
    assert list(await hot.store.load(EPOCH, copies)) == [True] * len(accounts)
    answers = await hot.store.admit(EPOCH, asked)
    assert answers == [Short(CREDITS, 0, 1), *(Admitted(number) for number in range(499))]
    await hot.store.publish([said(0, 2, "r", account=account) for account in accounts])
    found = await hot.store.read(accounts)
    assert [list(found[account].pending) for account in accounts] == [[]] * len(accounts)
    await hot.store.drop(accounts)
    assert await hot.store.read(accounts) == {}


async def test_no_overspend_when_requests_come_together(hot: HotBench) -> None:
    """Two hundred requests of two workers at once against credits for a hundred: exactly that."""
    await build(hot.store, truth(100 * 7))
    asked = [hold(f"r{number}", 7) for number in range(200)]
    calls = [
        hot.workers[start // 10 % WORKERS].admit(EPOCH, asked[start : start + 10])
        for start in range(0, 200, 10)
    ]
    answers = [answer for call in await asyncio.gather(*calls) for answer in call]
    left = [answer.available_nanos for answer in answers if isinstance(answer, Admitted)]
    assert sorted(left) == list(range(0, 700, 7))


async def test_a_store_that_does_not_answer_says_so(hot: HotBench) -> None:
    """Every call to a hot copy that is away raises StoreUnavailable and nothing else."""
    store = hot.unreachable
    calls: list[Awaitable[object]] = [
        store.admit(EPOCH, [hold("r", 1)]),
        store.load(EPOCH, [("token", truth(1))]),
        store.publish([said(1, 1)]),
        store.extend([(A, "r", EXPIRES_S)]),
        store.read([A]),
        store.drop([A]),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
