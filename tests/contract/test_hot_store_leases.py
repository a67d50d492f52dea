"""One suite for every hot copy: what a lease takes, what it gives back, and what others see."""

import pytest

from billing.errors import StoreUnavailable
from billing.lease_calls import LeaseCall, Leased, Step
from billing.rate import RateLeft
from billing.reservations import MAX_COUNTED, Admitted, Budget, Hold, Short, Used
from tests.contract.hot_bench import (
    EPOCH,
    EXPIRES_S,
    A,
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
from tests.contract.lease_bench import (
    NOW_US,
    TEN_MS_US,
    Holder,
    assert_left,
    leases,
    left,
    like,
    pending,
    rate,
    short,
)

BIG = 2**62


async def test_what_is_leased_is_nobody_elses(hot: HotBench) -> None:
    """A lease holds what it is for, to the last nano, and says so."""
    await build(hot.store, truth(1000))
    assert await Holder(hot.store, like(10)).open(5) == Leased(5, 950)
    assert await leases(hot.store) == [("l", f"50|{EXPIRES_S}")]
    assert await ask(hot.workers[1], hold("r", 950)) == Admitted(0)
    assert await ask(hot.workers[1], hold("s", 1)) == short(0, 1)


async def test_more_is_leased_on_demand_and_the_rest_comes_back(hot: HotBench) -> None:
    """Opened, topped up, closed: afterwards the account is as before, and knows no lease."""
    await build(hot.store, truth(1000, used=[Used("units:llm", 100, 0)]))
    before = await copy_of(hot.store)
    holder = Holder(hot.store, like(10, units(2, 1000)))
    assert await holder.open(5) == Leased(5, 950)
    assert await holder.top_up(2, 3) == Leased(3, 920)
    assert await leases(hot.store) == [("l", f"80|{EXPIRES_S}|units:llm~100~16")]
    assert await holder.top_up(3, 0) == Leased(0, 920)
    assert await holder.close(4) == Leased(0, 1000)
    assert await copy_of(hot.store) == before
    assert await holder.close(5) is None
    assert await holder.top_up(6, 1) is None
    await assert_left(hot.store, units(0, 1000), 1000)


@pytest.mark.parametrize(
    ("balance", "amount", "wanted", "granted"),
    [
        ((80, 0), 1, 100, 10),
        ((79, 0), 1, 100, 9),
        ((8, 0), 1, 100, 1),
        ((7, 0), 1, 100, 0),
        ((0, 0), 1, 1, 0),
        ((-90, 0), 1, 1, 0),
        ((100, 60), 10, 9, 2),
        ((-20, 100), 1, 99, 10),
        ((10**6, 0), 1, 512, 512),
        ((0, 0), 0, 7, 7),
        ((-5, 0), 0, 7, 7),
        ((80, 0), 1, 0, 0),
    ],
)
async def test_at_most_an_eighth_of_the_credits_that_are_left(
    hot: HotBench, balance: tuple[int, int], amount: int, wanted: int, granted: int
) -> None:
    """Who is poor gets no lease at all; a request of nothing is leased without a bound."""
    posted, overdraft = balance
    await build(hot.store, truth(posted, overdraft=overdraft))
    before = await copy_of(hot.store)
    answer = await Holder(hot.store, like(amount)).open(wanted)
    if granted:
        assert answer == Leased(granted, posted + overdraft - granted * amount)
    else:
        assert answer is None
        assert await copy_of(hot.store) == before
    assert await left(hot.store) == Admitted(posted + overdraft - granted * amount)


@pytest.mark.parametrize(
    ("taken", "amount", "limit", "granted"),
    [
        ((0, 0), 1, 80, 10),
        ((20, 0), 1, 100, 10),
        ((0, 20), 1, 100, 10),
        ((19, 20), 3, 119, 3),
        ((0, 0), 1, 7, 0),
        ((10, 0), 1, 10, 0),
        ((11, 0), 1, 10, 0),
        ((10, 0), 0, 10, 99),
        ((11, 0), 0, 10, 0),
        ((MAX_COUNTED - 8, 0), 1, MAX_COUNTED, 1),
    ],
)
async def test_at_most_an_eighth_of_a_counted_budget(
    hot: HotBench, taken: tuple[int, int], amount: int, limit: int, granted: int
) -> None:
    """What is used and what is held are both gone; over its limit a budget leases nothing, not
    even to requests that ask for nothing of it."""
    used, held = taken
    live = [hold("held", 0, units(held, limit))]
    await build(hot.store, truth(0, used=[Used("units:llm", 100, used)], pending=live))
    answer = await Holder(hot.store, like(0, units(amount, limit))).open(99)
    assert answer == (Leased(granted, 0) if granted else None)
    if used <= limit:
        await assert_left(hot.store, units(0, limit), limit - used - held - granted * amount)


async def test_the_scarcest_budget_bounds_a_lease(hot: HotBench) -> None:
    """Of several budgets, in any order, the one that is used up first decides."""
    await build(hot.store, truth(800))
    budgets = [units(1, 400), flight(240), Budget("period:llm", 100, 960, 3)]
    assert await Holder(hot.store, like(1, *budgets)).open(99) == Leased(30, 770)
    assert await Holder(hot.store, like(1, *budgets[::-1]), "m").open(99) == Leased(26, 744)
    assert await leases(hot.store) == [
        ("l", f"30|{EXPIRES_S}|units:llm~100~30|flight:llm~0~30|period:llm~100~90"),
        ("m", f"26|{EXPIRES_S}|period:llm~100~78|flight:llm~0~26|units:llm~100~26"),
    ]
    assert await Holder(hot.store, like(1, units(1, 400)), "n").open(99) == Leased(43, 701)
    await assert_left(hot.store, flight(240), 240 - 56)
    await assert_left(hot.store, Budget("period:llm", 100, 960, 0), 960 - 168)


async def test_a_draw_moves_from_the_lease_to_a_reservation(hot: HotBench) -> None:
    """What was admitted from a lease becomes live reservations, and nothing else changes: neither
    what is available nor what is counted."""
    await build(hot.store, truth(1000, used=[Used("units:llm", 100, 10)]))
    holder = Holder(hot.store, like(10, units(2, 1000), flight(999)))
    assert await holder.open(5) == Leased(5, 950)
    draws = [hold("a", 10, units(2, 1000), flight(999)), hold("b", 7, units(5, 1000), flight(999))]
    assert await holder.tell(2, *draws) == Leased(0, 950)
    copy = await copy_of(hot.store)
    assert copy.pending == [(one.reservation_id, one.record()) for one in draws]
    assert list(copy.leases) == [("l", f"33|{EXPIRES_S}|units:llm~100~3|flight:llm~0~3")]
    assert await left(hot.store) == Admitted(950)
    await assert_left(hot.store, units(0, 1000), 980)
    await assert_left(hot.store, flight(999), 994)


async def test_a_drawn_reservation_ends_as_any_other(hot: HotBench) -> None:
    """Its credits and shares come back when its end is published, once."""
    await build(hot.store, truth(1000))
    holder = Holder(hot.store, like(10, units(2, 1000)))
    await holder.open(5)
    await holder.tell(2, hold("a", 10, units(2, 1000)))
    await hot.store.publish([said(1000, 2, "a"), said(1000, 2, "a")])
    assert await pending(hot.store) == []
    assert await left(hot.store) == Admitted(960)
    assert await holder.close(3) == Leased(0, 1000)
    await assert_left(hot.store, units(0, 1000), 1000)


async def test_one_that_was_drawn_is_asked_for_again_and_held_once(hot: HotBench) -> None:
    """Told of, it is known by its id."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    await holder.tell(2, hold("a", 1))
    assert await ask(hot.store, hold("a", 1)) == Admitted(95)
    assert await pending(hot.store) == ["a"]


async def test_closing_tells_too(hot: HotBench) -> None:
    """The last call may have draws: they stay held, and only the rest is given back."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(2))
    await holder.open(6)
    assert await holder.close(2, hold("a", 2), hold("b", 2)) == Leased(0, 96)
    assert await pending(hot.store) == ["a", "b"]
    assert await leases(hot.store) == []
    await hot.store.publish([said(100, 2, "a", "b")])
    assert await left(hot.store) == Admitted(100)


@pytest.mark.parametrize("number", [2, 1, 0])
async def test_a_call_that_was_made_changes_nothing(hot: HotBench, number: int) -> None:
    """Told twice, or late, draws are not taken from the lease again, nor held again."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1))
    assert await holder.open(8) == Leased(8, 92)
    assert await holder.tell(2, hold("a", 1), hold("b", 1)) == Leased(0, 92)
    await hot.store.publish([said(100, 2, "a")])
    before = await copy_of(hot.store)
    assert await holder.tell(number, hold("a", 1), hold("b", 1)) == Leased(0, 93)
    assert await copy_of(hot.store) == before
    assert await holder.close(3) == Leased(0, 99)


async def test_a_lease_lives_as_long_as_its_last_request(hot: HotBench) -> None:
    """Its end of life moves on with each call, and never back."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1))
    await holder.open(1)
    for number, said_s, kept_s in ((2, 9, 9), (3, 5, 9), (3, 20, 20)):
        await holder.call(number, expires_s=EXPIRES_S + said_s)
        assert await leases(hot.store) == [("l", f"1|{EXPIRES_S + kept_s}")]
    assert await holder.close(4) == Leased(0, 100)


async def test_many_leases_in_one_call(hot: HotBench) -> None:
    """Calls about leases of several accounts are made in order, each answered in its place."""
    await build(hot.store, truth(160), truth(80, account=B))
    mine, yours = like(1), like(1, account=B)
    calls = [
        LeaseCall("l", 1, Step.OPEN, 10, mine, EXPIRES_S),
        LeaseCall("m", 1, Step.OPEN, 99, yours, EXPIRES_S),
        LeaseCall("l", 2, Step.KEEP, 99, mine, EXPIRES_S, [hold("a", 1)]),
        LeaseCall("none", 2, Step.KEEP, 1, mine, EXPIRES_S),
        LeaseCall("m", 2, Step.CLOSE, 0, yours, EXPIRES_S, [hold("b", 1, account=B)]),
    ]
    answers = await hot.store.tend(EPOCH, calls)
    assert list(answers) == [Leased(10, 150), Leased(10, 70), Leased(18, 132), None, Leased(0, 79)]
    assert await leases(hot.store) == [("l", f"27|{EXPIRES_S}")]
    assert (await pending(hot.store, A), await pending(hot.store, B)) == (["a"], ["b"])
    assert list(await hot.store.tend(EPOCH, [])) == []


async def test_a_thousand_draws_in_one_call(hot: HotBench) -> None:
    """As many as a holder tells at once."""
    await build(hot.store, truth(10_000))
    holder = Holder(hot.store, like(1))
    assert await holder.open(1200) == Leased(1200, 8800)
    draws = [hold(f"r{number:04}", 1) for number in range(1000)]
    await hot.store.publish([said(10_000, 2, *[one.reservation_id for one in draws[:400]])])
    assert await holder.tell(2, *draws) == Leased(0, 9200)
    assert await pending(hot.store) == [one.reservation_id for one in draws[400:]]
    assert await leases(hot.store) == [("l", f"200|{EXPIRES_S}")]


@pytest.mark.parametrize(
    ("posted", "amount", "granted"),
    [
        (2**56, 2**50, 7),
        (BIG, 2**50, 7),
        (BIG, 2**53 - 1, 1),
        (BIG, 2**53, 0),
        (BIG, 2**53 + 1, 0),
        (BIG - 1, 3, 99),
        (2**53 + 9, 2**49, 2),
        (2**53 - 1, 1, 99),
    ],
)
async def test_amounts_beyond_a_double_are_exact(
    hot: HotBench, posted: int, amount: int, granted: int
) -> None:
    """A lease is always of less than 2^53 nano, and what it leaves is exact."""
    await build(hot.store, truth(posted))
    holder = Holder(hot.store, like(amount))
    answer = await holder.open(99)
    assert answer == (Leased(granted, posted - granted * amount) if granted else None)
    assert await left(hot.store) == Admitted(posted - granted * amount)
    if granted:
        assert await holder.tell(2, hold("a", amount)) == Leased(0, posted - granted * amount)
        assert await holder.close(3) == Leased(0, posted - amount)
        await hot.store.publish([said(posted - 1, 2, "a")])
        assert await left(hot.store) == Admitted(posted - 1)


async def test_a_full_lease_is_topped_up_only_so_far(hot: HotBench) -> None:
    """What it holds already counts: together less than 2^53 nano."""
    await build(hot.store, truth(BIG))
    holder = Holder(hot.store, like(2**50))
    assert await holder.open(5) == Leased(5, BIG - 5 * 2**50)
    assert await holder.top_up(2, 9) == Leased(2, BIG - 7 * 2**50)
    assert await holder.top_up(3, 9) == Leased(0, BIG - 7 * 2**50)
    assert await holder.close(4) == Leased(0, BIG)


def paced(ident: str, burst: int, after_us: int = 0) -> Hold:
    """A request whose turn comes a hundred times a second."""
    return Hold(ident, A, 0, EXPIRES_S, (), rate(burst, after_us))


@pytest.mark.parametrize(
    ("burst", "ahead_us", "wanted", "granted"),
    [
        (80, 0, 99, 10),
        (79, 0, 99, 9),
        (80, 0, 4, 4),
        (100, 20 * TEN_MS_US, 99, 10),
        (100, 20 * TEN_MS_US + 1, 99, 9),
        (7, 0, 99, 0),
        (10, 11 * TEN_MS_US, 99, 0),
    ],
)
async def test_at_most_an_eighth_of_the_turns_of_a_rate(
    hot: HotBench, burst: int, ahead_us: int, wanted: int, granted: int
) -> None:
    """Turns that may come until a time are taken as if they came then."""
    await build(hot.store, truth(0))
    holder = Holder(hot.store, like(0, rate=rate(burst)))
    answer = await holder.open(wanted, until_us=NOW_US + ahead_us)
    full_us = NOW_US + ahead_us + granted * TEN_MS_US
    assert answer == (Leased(granted, 0, full_us) if granted else None)
    taken = -(-ahead_us // TEN_MS_US) + granted if granted else 0
    after = await ask(hot.store, paced("r", burst))
    assert isinstance(after, Admitted)
    assert after.rate is not None
    assert after.rate.requests == burst - taken - 1


async def test_turns_go_on_while_the_lease_stands(hot: HotBench) -> None:
    """Each call moves on until when its turns may come; those of others count besides."""
    await build(hot.store, truth(0))
    holder = Holder(hot.store, like(0, rate=rate(100)))
    assert await holder.open(8) == Leased(8, 0, NOW_US + 8 * TEN_MS_US)
    assert await ask(hot.store, paced("r", 100)) == Admitted(0, rate=RateLeft(91, 9 * TEN_MS_US))
    assert await holder.top_up(2, 1, turns=5) == Leased(1, 0, NOW_US + 10 * TEN_MS_US)
    later = Holder(hot.store, like(0, rate=rate(100, 50 * TEN_MS_US)))
    moved = await later.call(3, turns=6, until_us=NOW_US + 90 * TEN_MS_US)
    assert moved == Leased(0, 0, NOW_US + 96 * TEN_MS_US)


async def test_turns_that_cannot_be_had_for_longer_are_not_renewed(hot: HotBench) -> None:
    """When others have taken what a lease would need to go on, it is told that by a zero, and
    nothing changes."""
    await build(hot.store, truth(0))
    holder = Holder(hot.store, like(0, rate=rate(10)))
    assert await holder.open(1) == Leased(1, 0, NOW_US + TEN_MS_US)
    for number in range(9):
        assert isinstance(await ask(hot.store, paced(f"r{number}", 10)), Admitted)
    last = await holder.call(2, wanted=1, turns=1, until_us=NOW_US)
    assert last == Leased(0, 0, NOW_US + 10 * TEN_MS_US)
    gone = await holder.call(3, wanted=1, turns=1, until_us=NOW_US + 10 * TEN_MS_US)
    assert gone == Leased(0, 0, 0)
    assert await holder.close(4, turns=1) == Leased(0, 0)
    assert await ask(hot.store, paced("s", 10)) == Admitted(0, rate=RateLeft(0, 10 * TEN_MS_US))


async def test_closing_gives_unused_turns_back(hot: HotBench) -> None:
    """Those that were used stay used."""
    await build(hot.store, truth(0))
    holder = Holder(hot.store, like(0, rate=rate(100)))
    await holder.open(8)
    draws = [paced(f"d{number}", 100) for number in range(3)]
    await holder.close(2, *draws, turns=5)
    assert await ask(hot.store, paced("r", 100)) == Admitted(0, rate=RateLeft(96, 4 * TEN_MS_US))


async def test_a_rate_is_short_of_what_is_leased(hot: HotBench) -> None:
    """Who is too early because of leases hears both: how long it has to wait, and to ask again."""
    await build(hot.store, truth(0))
    assert await Holder(hot.store, like(0, rate=rate(16))).open(2) is not None
    answers = [await ask(hot.store, paced(f"r{number:02}", 16)) for number in range(15)]
    assert answers[-2] == Admitted(0, rate=RateLeft(0, 16 * TEN_MS_US))
    assert answers[-1] == Short("rate:llm", 0, 16, TEN_MS_US, leased=True)


async def test_leases_of_a_store_that_does_not_answer(hot: HotBench) -> None:
    """It says so, and nothing else."""
    with pytest.raises(StoreUnavailable):
        await Holder(hot.unreachable, like(1)).open(1)
