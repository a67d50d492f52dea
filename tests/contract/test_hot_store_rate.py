"""One suite for every hot copy: the rate is limited in the same step that holds."""

from billing.rate import Rate, RateLeft
from billing.reservations import CREDITS, Admitted, Hold, Short
from tests.contract.hot_bench import (
    EXPIRES_S,
    A,
    Answer,
    HotBench,
    ask,
    build,
    copy_of,
    flight,
    said,
    truth,
)

NOW_US = 1_760_000_000_000_000
SECOND_US = 1_000_000


def paced(
    ident: str, after_us: int = 0, amount: int = 1, burst: int = 2, profile: str = "llm"
) -> Hold:
    """A request for credits whose turn comes once a second."""
    rate = Rate(f"rate:{profile}", SECOND_US, burst, NOW_US + after_us)
    return Hold(ident, A, amount, EXPIRES_S, (), rate)


async def test_a_burst_passes_and_the_next_has_to_wait(hot: HotBench) -> None:
    """What is left is told with each admission, and the wait with the refusal."""
    await build(hot.store, truth(100))
    answers: list[Answer] = [await ask(hot.store, paced(ident)) for ident in "abc"]
    assert answers == [
        Admitted(99, rate=RateLeft(1, SECOND_US)),
        Admitted(98, rate=RateLeft(0, 2 * SECOND_US)),
        Short("rate:llm", 0, 2, SECOND_US),
    ]
    assert await ask(hot.store, paced("c", SECOND_US - 1)) == Short("rate:llm", 0, 2, 1)
    late = await ask(hot.store, paced("c", SECOND_US))
    assert late == Admitted(97, rate=RateLeft(0, 2 * SECOND_US))


async def test_requests_in_one_call_take_their_turns_in_order(hot: HotBench) -> None:
    """Of many that come together exactly the burst is admitted."""
    await build(hot.store, truth(100))
    answers = await hot.store.admit(7, [paced(str(number)) for number in range(5)])
    assert [isinstance(answer, Admitted) for answer in answers] == [True, True] + [False] * 3
    assert (await copy_of(hot.store)).posted_nanos == 100


async def test_a_refused_request_takes_no_turn(hot: HotBench) -> None:
    """Neither for want of credits nor of another budget: all or nothing."""
    await build(hot.store, truth(10))
    assert await ask(hot.store, paced("dear", amount=11)) == Short(CREDITS, 10, 11)
    full = Hold("full", A, 1, EXPIRES_S, (flight(0),), paced("x").rate)
    assert await ask(hot.store, full) == Short("flight:llm", 0, 0)
    assert await ask(hot.store, paced("a")) == Admitted(9, rate=RateLeft(1, SECOND_US))


async def test_a_request_that_is_too_early_holds_nothing(hot: HotBench) -> None:
    """Its credits are there for the next one."""
    await build(hot.store, truth(10))
    await ask(hot.store, paced("a", burst=1))
    assert await ask(hot.store, paced("b", burst=1)) == Short("rate:llm", 0, 1, SECOND_US)
    assert [ident for ident, _ in (await copy_of(hot.store)).pending] == ["a"]


async def test_profiles_have_rates_of_their_own(hot: HotBench) -> None:
    """One that is used up says nothing about another."""
    await build(hot.store, truth(10))
    await ask(hot.store, paced("a", burst=1))
    other = await ask(hot.store, paced("b", burst=1, profile="rpc"))
    assert other == Admitted(8, rate=RateLeft(0, SECOND_US))


async def test_the_same_reservation_takes_one_turn(hot: HotBench) -> None:
    """Asked again after an answer that got lost, it is admitted and counts once."""
    await build(hot.store, truth(10))
    await ask(hot.store, paced("a"))
    assert await ask(hot.store, paced("a")) == Admitted(9)
    assert await ask(hot.store, paced("b")) == Admitted(8, rate=RateLeft(0, 2 * SECOND_US))


async def test_a_settled_request_gives_no_turn_back(hot: HotBench) -> None:
    """A rate counts what came, whatever became of it."""
    await build(hot.store, truth(10))
    await ask(hot.store, paced("a", burst=1))
    await hot.store.publish([said(9, 2, "a")])
    assert await ask(hot.store, paced("b", burst=1)) == Short("rate:llm", 0, 1, SECOND_US)
