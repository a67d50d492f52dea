"""One lease, as its holder keeps it."""

from __future__ import annotations

import pytest

from billing.lease import FIRST_PACE, LEAST_REQUESTS, MOST_DRAWS, Lease
from billing.lease_calls import LeaseCall, Leased, Step
from billing.rate import Rate, RateLeft
from billing.reservations import Admitted, Budget, Hold

MOST = 512
NOW_US = 10**15
LIFE_S = 600
ENDS_S = NOW_US // 10**6 + LIFE_S
SURE_S = 0.4


def hold(
    number: int, amount: int = 10, units: int | None = None, *, rate: Rate | None = None
) -> Hold:
    """A request; its life ends later than that of the one before."""
    budgets = () if units is None else (Budget("units:llm", 0, 1000, units),)
    return Hold(f"r{number}", "account", amount, ENDS_S + number, budgets, rate, "", "pool")


def turn(after_us: int = 0) -> Rate:
    """A hundred a second, twenty at once."""
    return Rate("rate:llm", 10_000, 20, NOW_US + after_us)


def opened(first: Hold, granted: int = 5, *, full_us: int = 0) -> Lease:
    """A lease that was granted, found at 1."""
    lease = Lease("l", first, 1.0)
    call = next_call(lease)
    lease.told()
    answer = Leased(granted, 1000, full_us)
    lease.grow(call, answer)
    lease.found(1.0, SURE_S, answer)
    return lease


def next_call(lease: Lease, most: int = MOST) -> LeaseCall:
    return lease.next_call(most, NOW_US, NOW_US + 400_000)


def answered(lease: Lease, answer: Leased, sent_s: float = 2.0) -> LeaseCall:
    """One call more, made and answered."""
    call = next_call(lease)
    lease.told()
    lease.grow(call, answer)
    lease.found(sent_s, SURE_S, answer)
    return call


def test_a_new_lease_has_nothing() -> None:
    """What is not granted yet cannot be drawn, however little it is."""
    lease = Lease("l", hold(1, 1, 1), 1.0)
    assert lease.draw(hold(2, 1, 0)) is None
    assert lease.draw(hold(2, 0, 1)) is None
    assert lease.until_s == 0.0
    assert lease.draws == []
    call = next_call(lease)
    assert (call.lease_id, call.number, call.step, call.expires_s) == (
        "l",
        1,
        Step.OPEN,
        ENDS_S + 1,
    )
    assert call.wanted == LEAST_REQUESTS + 5 * (FIRST_PACE * 3 // 4) // 2
    assert not call.draws


def test_what_was_granted_is_drawn_to_the_last() -> None:
    """Each draw says what the account has left, the lease's own included; one too many fails and
    takes nothing."""
    lease = opened(hold(0, 10, 2))
    assert lease.draw(hold(1, 10, 2)) == Admitted(1040)
    assert lease.draw(hold(2, 41, 2)) is None
    assert lease.draw(hold(2, 40, 9)) is None
    assert lease.draw(hold(2, 40, 8)) == Admitted(1000)
    assert lease.draw(hold(3, 1, 0)) is None
    assert lease.draw(hold(3, 0, 1)) is None
    assert lease.draw(hold(3, 0, 0)) == Admitted(1000)
    assert [draw.reservation_id for draw in lease.draws] == ["r1", "r2", "r3"]


def test_every_budget_bounds_a_draw() -> None:
    """The first as well as the last of them."""
    budgets = [Budget("a", 0, 9, 3), Budget("b", 0, 9, 3)]
    lease = opened(Hold("x", "account", 0, 1, tuple(budgets)), 1)
    for place in (0, 1):
        asked = list(budgets)
        asked[place] = Budget(budgets[place].name, 0, 9, 4)
        assert lease.draw(Hold("y", "account", 0, 1, tuple(asked))) is None
    assert lease.draw(Hold("y", "account", 0, 1, tuple(budgets))) == Admitted(1000)


def test_grants_add_up() -> None:
    """And the news of what the account has left besides replaces the older."""
    lease = opened(hold(0, 10, 2), 1)
    answered(lease, Leased(2, 700))
    assert lease.draw(hold(1, 30, 6)) == Admitted(700)
    assert lease.draw(hold(2, 1, 0)) is None


def test_turns_are_drawn_one_by_one() -> None:
    """What is left of the rate is told as the hot copy would: as if all turns before had come."""
    full_us = NOW_US + 15 * 10_000
    lease = opened(hold(0, 0, rate=turn()), 2, full_us=full_us)
    assert lease.draw(hold(1, 0, rate=turn())) == Admitted(1000, rate=RateLeft(6, 140_000))
    late = lease.draw(hold(2, 0, rate=turn(145_000)))
    assert late == Admitted(1000, rate=RateLeft(19, 10_000))
    assert lease.draw(hold(3, 0, rate=turn())) is None
    assert len(lease.draws) == 2


def test_a_burst_that_is_gone_is_none_and_not_less() -> None:
    """What is left of a rate is never below nothing."""
    lease = opened(hold(0, 0, rate=turn()), 1, full_us=NOW_US + 10**9)
    drawn = lease.draw(hold(1, 0, rate=turn()))
    assert drawn == Admitted(1000, rate=RateLeft(0, 10**9))


def test_a_draw_short_of_credits_takes_no_turn() -> None:
    """All or nothing."""
    lease = opened(hold(0, 10, 1, rate=turn()), 1, full_us=NOW_US + 10_000)
    assert lease.draw(hold(1, 11, 1, rate=turn())) is None
    assert lease.draw(hold(1, 10, 2, rate=turn())) is None
    assert lease.draw(hold(1, 10, 1, rate=turn())) is not None


def test_a_call_tells_what_was_drawn_since_the_last() -> None:
    """Once each, with the end of the last life, and another number."""
    lease = opened(hold(0))
    lease.draw(hold(7))
    lease.draw(hold(3))
    first = answered(lease, Leased(0, 1000))
    assert ([draw.reservation_id for draw in first.draws], first.number) == (["r7", "r3"], 2)
    assert (first.step, first.expires_s) == (Step.KEEP, ENDS_S + 7)
    second = next_call(lease)
    assert (list(second.draws), second.number, second.expires_s) == ([], 3, ENDS_S + 7)


def test_a_lease_lives_as_long_as_what_is_drawn_after_a_call() -> None:
    """A worker that stood still for minutes may draw after its next call, and die before it tells
    of that: the lease has to stand for the whole life of such a request from that call on."""
    lease = opened(hold(0))
    late_us = NOW_US + 1_000 * 10**6
    assert lease.next_call(MOST, late_us, late_us).expires_s == ENDS_S + 1_000
    lease.told()
    assert lease.next_call(MOST, NOW_US, NOW_US).expires_s == ENDS_S + 1_000


def test_what_is_drawn_during_a_call_is_told_by_the_next() -> None:
    """The call under way has only what was drawn before."""
    lease = opened(hold(0))
    lease.draw(hold(1))
    call = next_call(lease)
    lease.draw(hold(2))
    assert [draw.reservation_id for draw in call.draws] == ["r1"]
    lease.told()
    assert [draw.reservation_id for draw in next_call(lease).draws] == ["r2"]


def test_a_call_of_which_nobody_knows_is_made_again_for_nothing_more() -> None:
    """With the same number and draws; what was drawn since waits."""
    lease = opened(hold(0))
    lease.draw(hold(1))
    lost = next_call(lease)
    assert lost.wanted > 0
    lease.draw(hold(2))
    lease.close()
    again = next_call(lease)
    assert (again.number, again.step, again.wanted) == (lost.number, Step.KEEP, 0)
    assert again.draws == lost.draws
    assert next_call(lease) == again
    lease.told()
    last = next_call(lease)
    assert (last.number, last.step, last.wanted) == (lost.number + 1, Step.CLOSE, 0)
    assert [draw.reservation_id for draw in last.draws] == ["r2"]


def test_an_opening_of_which_nobody_knows_is_taken_back() -> None:
    """Perhaps it was granted; nobody can say how much, so it is closed."""
    lease = Lease("l", hold(1), 1.0)
    assert next_call(lease).step is Step.OPEN
    again = next_call(lease)
    assert (again.step, again.wanted, again.number) == (Step.CLOSE, 0, 1)


def test_a_lost_closing_is_repeated() -> None:
    """As it was."""
    lease = opened(hold(0))
    lease.close()
    lost = next_call(lease)
    assert lost.step is Step.CLOSE
    assert next_call(lease) == lost


def test_a_lease_that_was_opened_is_kept() -> None:
    """Only its first call opens it."""
    lease = opened(hold(0))
    assert lease.step is Step.KEEP
    assert next_call(lease).step is Step.KEEP


def test_many_draws_are_told_in_several_calls() -> None:
    """And before the last of them is told the lease is not closed."""
    lease = opened(hold(0, 0), 1)
    for number in range(MOST_DRAWS + 1):
        lease.draw(hold(number, 0))
    assert lease.calls_again
    lease.close()
    first = answered(lease, Leased(0, 0))
    assert (len(first.draws), first.step, first.wanted) == (MOST_DRAWS, Step.KEEP, 0)
    assert lease.calls_again
    last = next_call(lease)
    assert (len(last.draws), last.step) == (1, Step.CLOSE)


@pytest.mark.parametrize(("draws", "again"), [(0, False), (999, False), (1000, True)])
def test_a_full_call_is_followed_by_another(draws: int, again: bool) -> None:
    """Where so many wait that they might not fit the next one."""
    lease = opened(hold(0, 0), 1)
    for number in range(draws):
        lease.draw(hold(number, 0))
    assert lease.calls_again is again
    lease.ended = True
    assert not lease.calls_again


def test_more_is_wanted_the_more_is_drawn() -> None:
    """Enough for what is drawn in two intervals and a half; less only little by little."""
    lease = opened(hold(0, 1), 100)
    for number in range(40):
        lease.draw(hold(number, 1))
    assert next_call(lease).wanted == LEAST_REQUESTS + 100 - 60
    lease.told()
    assert next_call(lease).wanted == LEAST_REQUESTS + 75 - 60
    lease.told()
    assert next_call(lease).wanted == 0


def test_never_more_is_wanted_than_one_lease_may_have() -> None:
    """What is left counts."""
    lease = opened(hold(0, 1), 300)
    for number in range(250):
        lease.draw(hold(number, 1))
    assert next_call(lease, MOST).wanted == MOST - 50
    lease.told()
    assert next_call(lease, 60).wanted == 10


def test_the_scarcest_decides_what_is_wanted() -> None:
    """Requests may have taken more of one than of another."""
    lease = opened(hold(0, 10, 2, rate=turn()), 5, full_us=NOW_US)
    lease.draw(hold(1, 0, 0, rate=turn()))
    lease.draw(hold(1, 21, 0, rate=turn()))
    call = answered(lease, Leased(0, 0, NOW_US))
    assert call.wanted == LEAST_REQUESTS + 5 * 4 // 2 - 2
    lease.draw(hold(2, 0, 7, rate=turn()))
    assert answered(lease, Leased(0, 0, NOW_US)).wanted == LEAST_REQUESTS + 5 * 3 // 2 - 1
    lease.draw(hold(3, 0, 0, rate=turn()))
    lease.draw(hold(4, 0, 0, rate=turn()))
    assert next_call(lease).wanted == LEAST_REQUESTS + 5 * 2 // 2


def test_a_budget_of_which_nothing_is_asked_bounds_nothing() -> None:
    """What costs nothing is wanted anew at each call."""
    lease = opened(hold(0, 0, 0), 5)
    assert next_call(lease).wanted == LEAST_REQUESTS + 5 * 4 // 2


def test_a_call_says_how_many_turns_are_left() -> None:
    """With the time of the call, and until when those may come that it has after it."""
    lease = opened(hold(0, 0, rate=turn(-77)), 5, full_us=NOW_US)
    lease.draw(hold(1, 0, rate=turn()))
    call = next_call(lease)
    assert (call.turns, call.until_us) == (4, NOW_US + 400_000)
    assert call.hold.rate == turn()


def test_a_lease_stands_for_a_moment_after_it_was_found() -> None:
    """From the sending of the call on, since it may have been made then."""
    lease = opened(hold(0))
    assert (lease.found_s, lease.until_s) == (1.0, 1.4)
    answered(lease, Leased(0, 0), sent_s=7.0)
    assert (lease.found_s, lease.until_s) == (7.0, 7.4)


def test_a_rate_that_is_not_renewed_lets_a_lease_run_out() -> None:
    """It was found, but its turns may come no later than was said before."""
    lease = opened(hold(0, 0, rate=turn()), 2, full_us=NOW_US + 20_000)
    answered(lease, Leased(0, 0, 0), sent_s=7.0)
    assert (lease.found_s, lease.until_s) == (7.0, 1.4)
    assert lease.draw(hold(1, 0, rate=turn())) == Admitted(0, rate=RateLeft(19, 10_000))


@pytest.mark.parametrize(("sent_s", "until_s"), [(4.9, 0.0), (5.0, 0.0), (5.1, 5.5)])
def test_a_suspended_lease_has_to_be_found_by_a_later_call(sent_s: float, until_s: float) -> None:
    """A call that was under way when copies began to be built says nothing."""
    lease = opened(hold(0))
    lease.suspend(5.0)
    assert (lease.until_s, lease.found_s) == (0.0, 0.0)
    answered(lease, Leased(0, 0), sent_s=sent_s)
    assert lease.until_s == until_s


def test_a_closed_lease_is_not_drawn_from_again() -> None:
    """Not even when a call that was under way finds it."""
    lease = opened(hold(0))
    call = next_call(lease)
    lease.close()
    assert lease.until_s == 0.0
    lease.told()
    lease.grow(call, Leased(1, 0))
    lease.found(2.0, SURE_S, Leased(1, 0))
    assert lease.until_s == 0.0
    assert lease.step is Step.CLOSE
    assert lease.calls_again


@pytest.mark.parametrize(
    ("drawn", "now_s", "closes"),
    [(0, 1.1, False), (0, 1.25, True), (1, 9.0, True), (2, 9.0, False)],
)
def test_a_lease_that_is_hardly_used_is_closed(drawn: int, now_s: float, closes: bool) -> None:
    """Judged when enough time has passed."""
    lease = opened(hold(0))
    for number in range(drawn):
        lease.draw(hold(number))
    lease.judge_use(now_s, 0.25, 2)
    assert (lease.step is Step.CLOSE) is closes


def test_each_time_is_judged_by_itself() -> None:
    """What was drawn before does not count again, and a new time begins."""
    lease = opened(hold(0))
    lease.draw(hold(1))
    lease.draw(hold(2))
    lease.judge_use(5.0, 0.2, 2)
    lease.draw(hold(3))
    lease.judge_use(5.1, 0.2, 2)
    assert next_call(lease).step is Step.KEEP
    lease.told()
    lease.judge_use(5.3, 0.2, 2)
    assert next_call(lease).step is Step.CLOSE
