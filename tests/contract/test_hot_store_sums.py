"""One suite for every hot copy: what many ends and many budgets add up to, to the last nano."""

import pytest

from billing.rate import Rate, RateLeft
from billing.reservations import (
    CREDITS,
    MAX_COUNTED,
    Admitted,
    Budget,
    Hold,
    Publication,
    Short,
    Used,
)
from tests.contract.hot_bench import (
    EPOCH,
    EXPIRES_S,
    A,
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

BIG = 2**62


async def test_many_ends_in_one_publication(hot: HotBench) -> None:
    """Thousands of reservations end at once, some of them named twice, and give back exactly."""
    await build(hot.store, truth(10_000_000))
    asked = [hold(f"r{number}", number, units(1, 5000), flight(5000)) for number in range(4200)]
    answers = await hot.store.admit(EPOCH, asked)
    assert all(isinstance(answer, Admitted) for answer in answers)
    ended = [one.reservation_id for one in asked[:4100]]
    await hot.store.publish([said(10_000_000, 2, "r7", *ended, "never held", *ended[:300])])
    copy = await copy_of(hot.store)
    assert {ident for ident, _ in copy.pending} == {one.reservation_id for one in asked[4100:]}
    left = 10_000_000 - sum(range(4100, 4200))
    assert await ask(hot.store, hold("s", left + 1)) == Short(CREDITS, left, left + 1)
    assert await ask(hot.store, hold("s", 0, units(0, 99))) == Short("units:llm", -1, 99)
    assert await ask(hot.store, hold("s", left, units(0, 100), flight(101))) == Admitted(0)


@pytest.mark.parametrize(
    "amounts",
    [
        (2**52, 2**52),
        (2**52, 2**52 - 1, 1, 1),
        (2**53 - 1, 1, 2),
        (2**53, 1, 2**53 + 1),
        (BIG // 2 + 1, 3, BIG // 4 + 1),
        (2**53 - 1,) * 5,
    ],
)
async def test_sums_beyond_a_double_are_exact(hot: HotBench, amounts: tuple[int, ...]) -> None:
    """What ends together may add up to more than a double holds; not one nano is lost."""
    await build(hot.store, truth(BIG - 5, overdraft=3))
    for number, amount in enumerate(amounts):
        assert isinstance(await ask(hot.store, hold(f"r{number}", amount)), Admitted)
    ended = [f"r{number}" for number in range(len(amounts))]
    spent = BIG - 5 - sum(amounts) // 3
    await hot.store.publish([said(spent, 2, *ended, overdraft=1)])
    assert await ask(hot.store, hold("s", 1)) == Admitted(spent)
    assert await ask(hot.store, hold("t", spent)) == Admitted(0)
    assert await ask(hot.store, hold("u", 1)) == Short(CREDITS, 0, 1)


@pytest.mark.parametrize("before", [BIG, -BIG, 2**53 - 1, 2**53 + 1, -(2**53) - 1, 0, -1])
@pytest.mark.parametrize("after", [BIG, -BIG + 7, 2**53, -(2**53), 1])
async def test_a_balance_moves_between_any_two(hot: HotBench, before: int, after: int) -> None:
    """With what was held in between given back in the same step."""
    overdraft = BIG // 2
    await build(hot.store, truth(before, overdraft=overdraft, pending=[hold("r", 2**53 + 1)]))
    await hot.store.publish([said(after, 2, "r", overdraft=overdraft - 1)])
    assert await ask(hot.store, hold("s", 0)) == Admitted(after + overdraft - 1)


async def test_a_counted_budget_is_exact_at_its_largest(hot: HotBench) -> None:
    """Held to the last unit below 2^53, ended, and there again."""
    await build(hot.store, truth(0, used=[Used("units:llm", 100, 2)]))
    most = MAX_COUNTED - 2
    assert await ask(hot.store, hold("r", 0, units(most - 1, MAX_COUNTED))) == Admitted(0)
    assert await ask(hot.store, hold("s", 0, units(1, MAX_COUNTED))) == Admitted(0)
    assert await ask(hot.store, hold("t", 0, units(1, MAX_COUNTED))) == Short(
        "units:llm", 0, MAX_COUNTED
    )
    await hot.store.publish([said(0, 2, "r", used=(Used("units:llm", 100, 3),))])
    assert await ask(hot.store, hold("t", 0, units(most, MAX_COUNTED))) == Short(
        "units:llm", MAX_COUNTED - 4, MAX_COUNTED
    )
    assert await ask(hot.store, hold("t", 0, units(MAX_COUNTED - 4, MAX_COUNTED))) == Admitted(0)


async def test_profiles_are_counted_apart(hot: HotBench) -> None:
    """Requests of several profiles, with budgets and rates in any order and number."""
    await build(hot.store, truth(100, used=[Used("units:b", 5, 3)]))
    for number, profile in enumerate(["a", "b", "c", "b", "a"]):
        budgets = (Budget(f"flight:{profile}", 0, 2, 1), Budget(f"units:{profile}", 5, 10, 2))
        rate = Rate(f"rate:{profile}", 1_000_000, 2, 10**15)
        one = Hold(f"r{number}", A, 1, EXPIRES_S, budgets[:: 1 if number < 3 else -1], rate)
        left = RateLeft(1 if number < 3 else 0, 1_000_000 if number < 3 else 2_000_000)
        assert await ask(hot.store, one) == Admitted(99 - number, rate=left)
    assert (await copy_of(hot.store)).used == [
        Used("flight:a", 0, 0),
        Used("flight:b", 0, 0),
        Used("flight:c", 0, 0),
        Used("units:a", 5, 0),
        Used("units:b", 5, 3),
        Used("units:c", 5, 0),
    ]
    assert await ask(hot.store, hold("s", 0, Budget("units:b", 5, 10, 4))) == Short(
        "units:b", 3, 10
    )
    await hot.store.publish([said(100, 2, "r1", "r2")])
    assert await ask(hot.store, hold("s", 0, Budget("units:b", 5, 10, 5))) == Admitted(97)
    assert await ask(hot.store, hold("t", 0, Budget("flight:a", 0, 2, 1))) == Short(
        "flight:a", 0, 2
    )
    assert await ask(hot.store, hold("t", 0, Budget("flight:c", 0, 1, 1))) == Admitted(97)


async def test_many_budgets_of_one_account(hot: HotBench) -> None:
    """An account may use hundreds of budgets, told of in a load, in a publication, or held."""
    names = [f"units:profile-{number}" for number in range(600)]
    await build(hot.store, truth(0, used=[Used(name, 100, 7) for name in names[:300]]))
    used = tuple(Used(name, 100, 8) for name in names[200:500])
    await hot.store.publish([Publication(A, 0, 0, 2, used)])
    for number, taken in ((0, 7), (299, 8), (499, 8), (599, 0)):
        short = await ask(hot.store, hold("r", 0, Budget(names[number], 100, 9, 10)))
        assert short == Short(names[number], 9 - taken, 9)
        assert isinstance(
            await ask(hot.store, hold(f"r{number}", 0, Budget(names[number], 100, 9, 1))), Admitted
        )
    assert len((await copy_of(hot.store)).used) == 501


@pytest.mark.parametrize("order", [1, -1])
async def test_two_windows_of_one_budget_at_once(hot: HotBench, order: int) -> None:
    """What is told across the turn of a period counts in the newer one, whichever comes first."""
    used = (Used("units:llm", 100, 9), Used("units:llm", 200, 2))[::order]
    await build(hot.store, truth(0, used=used))
    assert (await copy_of(hot.store)).used == [Used("units:llm", 200, 2)]
    days = tuple(Used("day:llm", *one[1:]) for one in used)
    await hot.store.publish([said(0, 2, used=days)])
    assert (await copy_of(hot.store)).used == [Used("day:llm", 200, 2), Used("units:llm", 200, 2)]
    for name in ("day:llm", "units:llm"):
        asked = hold("r", 0, Budget(name, 200, 10, 9))
        assert await ask(hot.store, asked) == Short(name, 8, 10)
