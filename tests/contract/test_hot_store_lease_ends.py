"""One suite for every hot copy: leases whose requests end early, whose copy goes, or that somebody
else is short of."""

from itertools import permutations

import pytest

from billing.lease_calls import CALL_BACK_MS, PAUSE_MS, Leased, Step
from billing.reservations import CREDITS, Admitted, Short, Used
from billing.stores.protocol import Absent
from tests.contract.hot_bench import (
    EPOCH,
    EXPIRES_S,
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

MOST_REMEMBERED = 500


async def test_what_ended_before_it_was_told_of_gives_back_once(hot: HotBench) -> None:
    """A settlement may overtake its lease: the draw then never becomes a reservation, and its
    credits and shares are there again as soon as it is told."""
    await build(hot.store, truth(1000, used=[Used("units:llm", 100, 0)]))
    holder = Holder(hot.store, like(10, units(2, 1000)))
    await holder.open(5)
    await hot.store.publish([said(993, 2, "b", used=(Used("units:llm", 100, 3),))])
    assert await left(hot.store) == Admitted(943)
    draws = [hold(ident, 10, units(2, 1000)) for ident in "abc"]
    assert await holder.tell(2, *draws) == Leased(0, 953)
    copy = await copy_of(hot.store)
    assert [ident for ident, _ in copy.pending if len(ident) == 1] == ["a", "c"]
    assert list(copy.leases) == [("l", f"20|{EXPIRES_S}|units:llm~100~4")]
    assert await holder.tell(2, *draws) == Leased(0, 953)
    assert await holder.close(3) == Leased(0, 973)
    await assert_left(hot.store, units(0, 1000), 1000 - 3 - 4)


async def test_an_end_is_remembered_once(hot: HotBench) -> None:
    """However often it is published before the draw is told: the next of that name is held."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    await hot.store.publish([said(100, 2, "a", "a"), said(100, 2, "a")])
    await hot.store.publish([said(100, 2, "b", "a")])
    assert await holder.tell(2, hold("a", 1), hold("c", 1)) == Leased(0, 96)
    assert await pending(hot.store) == ["c"]
    assert await holder.tell(3, hold("a", 1)) == Leased(0, 96)
    assert await pending(hot.store) == ["a", "c"]
    assert await holder.tell(4, hold("b", 1)) == Leased(0, 97)


async def test_what_comes_back_is_there_for_the_same_call(hot: HotBench) -> None:
    """Credits and shares of what ended early are leased again at once."""
    await build(hot.store, truth(160))
    holder = Holder(hot.store, like(20, units(20, 160)))
    assert await holder.open(9) == Leased(1, 140)
    await hot.store.publish([said(160, 2, "a")])
    told = await holder.call(2, Step.KEEP, hold("a", 20, units(20, 160)), wanted=9)
    assert told == Leased(1, 140)
    await assert_left(hot.store, units(0, 160), 140)


async def test_what_was_held_is_not_remembered(hot: HotBench) -> None:
    """Its end is known, even when a publication names it twice."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    assert isinstance(await ask(hot.store, hold("a", 1)), Admitted)
    await hot.store.publish([said(100, 2, "a", "a")])
    assert await holder.tell(2, hold("a", 1)) == Leased(0, 95)
    assert await pending(hot.store) == ["a"]


async def test_the_only_end_is_remembered_once(hot: HotBench) -> None:
    """Told, it is forgotten, although nothing else is remembered."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    await hot.store.publish([said(100, 2, "a")])
    assert await holder.tell(2, hold("a", 1)) == Leased(0, 96)
    assert await holder.tell(3, hold("a", 1)) == Leased(0, 96)
    assert await pending(hot.store) == ["a"]


async def test_ids_are_taken_as_they_are(hot: HotBench) -> None:
    """Those of leases and reservations have signs that mean something to a pattern."""
    await build(hot.store, truth(800))
    ids = [f"0198c0de-0000-7000-8000-{number:012x}" for number in range(4)]
    first, second = (Holder(hot.store, like(1), ident) for ident in ids[:2])
    assert (await first.open(5), await second.open(5)) == (Leased(5, 795), Leased(5, 790))
    await hot.store.publish([said(800, 2, ids[2]), said(800, 2, ids[2])])
    assert await first.tell(2, hold(ids[2], 1), hold(ids[3], 1)) == Leased(0, 791)
    assert await pending(hot.store) == [ids[3]]
    assert await first.tell(3, hold(ids[2], 1)) == Leased(0, 791)
    assert await pending(hot.store) == ids[2:]
    assert await first.close(4) == Leased(0, 793)
    assert await second.close(2) == Leased(0, 798)


@pytest.mark.parametrize("order", list(permutations("lmn")))
async def test_leases_are_closed_in_any_order(hot: HotBench, order: tuple[str, ...]) -> None:
    """With the last of them the copy knows none: it remembers nothing, and calls nobody back."""
    await build(hot.store, truth(800))
    holders = {ident: Holder(hot.store, like(1), ident) for ident in "lmn"}
    for holder in holders.values():
        assert (await holder.open(5)) is not None
    for ident in order[:2]:
        assert await holders[ident].close(2) is not None
        await hot.store.publish([said(800, 2, "a")])
    last = holders[order[2]]
    assert await last.tell(2, hold("a", 1)) == Leased(0, 796)
    assert await pending(hot.store) == []
    await hot.store.publish([said(800, 2, "b")])
    assert await last.close(3) == Leased(0, 800)
    assert await ask(hot.store, hold("dear", 801)) == Short(CREDITS, 800, 801)
    assert await holders["l"].open(5) == Leased(5, 795)
    assert await holders["l"].tell(2, hold("b", 1)) == Leased(0, 795)
    assert await pending(hot.store) == ["b"]


async def test_several_ends_of_one_call(hot: HotBench) -> None:
    """All that ended early, in any order, are given back together, in the closing call, too."""
    await build(hot.store, truth(800))
    holder, other = Holder(hot.store, like(10)), Holder(hot.store, like(10), "m")
    assert await holder.open(5) == Leased(5, 750)
    assert await other.open(2) == Leased(2, 730)
    await hot.store.publish([said(800, 2, "c", "a", "e")])
    draws = [hold(ident, 10) for ident in "abcd"]
    assert await holder.close(2, *draws) == Leased(0, 760)
    assert await pending(hot.store) == ["b", "d"]
    assert await other.tell(2, hold("e", 10)) == Leased(0, 770)
    assert await pending(hot.store) == ["b", "d"]


async def test_remembered_ends_go_with_the_last_lease(hot: HotBench) -> None:
    """While any lease is left they stay; afterwards nobody can tell of them any more."""
    await build(hot.store, truth(800))
    first, second = Holder(hot.store, like(1)), Holder(hot.store, like(1), "m")
    await first.open(5)
    await second.open(5)
    await hot.store.publish([said(800, 2, "a", "b")])
    await first.close(2)
    assert await second.tell(2, hold("a", 1)) == Leased(0, 796)
    assert await pending(hot.store) == []
    await second.close(3)
    third = Holder(hot.store, like(1), "n")
    await third.open(5)
    assert await third.tell(2, hold("b", 1)) == Leased(0, 795)
    assert await pending(hot.store) == ["b"]


async def test_without_a_lease_nothing_is_remembered(hot: HotBench) -> None:
    """Ends of reservations that a copy does not hold are nothing to it, then and later."""
    await build(hot.store, truth(800))
    await hot.store.publish([said(800, 2, *[f"{number:04}" for number in range(600)])])
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    assert await holder.tell(2, hold("0007", 1)) == Leased(0, 795)
    assert await pending(hot.store) == ["0007"]


async def test_a_copy_that_would_remember_too_much_goes(hot: HotBench) -> None:
    """So many are kept; with one more the copy is built anew, from a truth that has them all."""
    await build(hot.store, truth(800))
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    ended = [f"{number:04}" for number in range(MOST_REMEMBERED)]
    await hot.store.publish([said(800, 2, *ended[:300])])
    await hot.store.publish([said(800, 2, *ended[300:])])
    assert await leases(hot.store) == [("l", f"5|{EXPIRES_S}")]
    await hot.store.publish([said(800, 3, "more")])
    assert await holder.tell(2, hold("0007", 1)) is None
    answer = await ask(hot.store, hold("r", 1))
    assert isinstance(answer, Absent)
    assert answer.mine


async def test_a_copy_that_is_built_anew_knows_no_lease(hot: HotBench) -> None:
    """What was drawn is in the truth that it is built from; the lease is not there, and nothing of
    it is held."""
    await build(hot.store, truth(800))
    holder = Holder(hot.store, like(1))
    await holder.open(5)
    await hot.store.publish([said(800, 2, "a")])
    await ask(hot.store, hold("dear", 9999))
    await hot.flush()
    assert await holder.tell(2, hold("b", 1)) is None
    assert await Holder(hot.store, like(1), "m").open(5) is None
    await build(hot.store, truth(800, pending=[hold("b", 1)]))
    assert await holder.tell(2, hold("b", 1)) is None
    assert await holder.close(3) is None
    copy = await copy_of(hot.store)
    assert ([ident for ident, _ in copy.pending], copy.leases) == (["b"], ())
    assert await ask(hot.store, hold("r", 800)) == Short(CREDITS, 799, 800)
    fresh = Holder(hot.store, like(1), "m")
    assert await fresh.open(5) == Leased(5, 794)
    assert await fresh.tell(2, hold("a", 1)) == Leased(0, 794)
    assert await pending(hot.store) == ["a", "b"]


async def test_an_absent_copy_leases_nothing(hot: HotBench) -> None:
    """And who asks for a lease does not take the right to load."""
    holder = Holder(hot.store, like(1))
    assert await holder.open(5) is None
    assert await holder.close(2) is None
    await build(hot.store, truth(800))
    assert await holder.top_up(2, 5) is None
    assert await leases(hot.store) == []


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
async def test_a_copy_of_another_epoch_takes_note_and_grants_nothing(
    hot: HotBench, epoch: int
) -> None:
    """It may be void, but while it is there it is told, and gives back."""
    await build(hot.store, truth(800))
    mine = Holder(hot.store, like(1, rate=rate(100)))
    await mine.open(5)
    stranger = mine._replace(epoch=epoch)
    assert await stranger._replace(lease_id="m").open(5) is None
    noted = await stranger.call(2, Step.KEEP, hold("a", 1), wanted=9, turns=4)
    assert noted == Leased(0, 795, 0)
    assert await pending(hot.store) == ["a"]
    assert await leases(hot.store) == [("l", f"4|{EXPIRES_S}")]
    assert await stranger.close(3, turns=4) == Leased(0, 799)
    assert await leases(hot.store) == []


async def test_who_is_short_calls_leases_back(hot: HotBench) -> None:
    """The holder hears of it at its next call and gets no more; the one that is short is told to
    ask again soon, for a moment; and for a longer moment nobody gets a lease."""
    await build(hot.store, truth(800))
    holder, other = Holder(hot.store, like(10)), Holder(hot.store, like(10), "m")
    assert await holder.open(9) == Leased(9, 710)
    assert await ask(hot.workers[1], hold("r", 720)) == short(710, 720)
    assert await holder.top_up(2, 1) == Leased(0, 710, 0, called_back=True)
    assert await other.open(1) is None
    assert await leases(hot.store) == [("l", f"90|{EXPIRES_S}")]
    await hot.wait(CALL_BACK_MS / 1000)
    assert await ask(hot.workers[1], hold("r", 720)) == Short(CREDITS, 710, 720)
    assert await holder.close(3) == Leased(0, 800)
    assert await other.open(1) is None
    assert await ask(hot.workers[1], hold("r", 720)) == Admitted(80)
    await hot.wait((PAUSE_MS - CALL_BACK_MS) / 1000)
    assert await other.open(1) == Leased(1, 70)
    assert await other.top_up(2, 0) == Leased(0, 70)


async def test_leases_that_did_not_come_back_are_called_back_anew(hot: HotBench) -> None:
    """A holder that hears nothing is called again by whoever is short after the pause."""
    await build(hot.store, truth(800))
    holder = Holder(hot.store, like(10))
    await holder.open(9)
    assert await ask(hot.store, hold("r", 720)) == short(710, 720)
    await hot.wait(PAUSE_MS / 1000)
    assert await ask(hot.store, hold("r", 720)) == short(710, 720)
    assert (await holder.top_up(2, 1)) == Leased(0, 710, called_back=True)
    await hot.wait(CALL_BACK_MS / 1000)
    assert await ask(hot.store, hold("r", 720)) == Short(CREDITS, 710, 720)
    await hot.wait(1 - CALL_BACK_MS / 1000)
    assert await holder.top_up(3, 1) == Leased(1, 700)


async def test_short_without_leases_is_plainly_short(hot: HotBench) -> None:
    """Nobody is asked to wait for leases that are not there; those opened later are not called."""
    await build(hot.store, truth(800))
    assert await ask(hot.store, hold("r", 801)) == Short(CREDITS, 800, 801)
    holder = Holder(hot.store, like(10))
    assert await holder.open(1) == Leased(1, 790)
    assert await holder.top_up(2, 1) == Leased(1, 780)
    await holder.close(3)
    assert await ask(hot.store, hold("r", 801)) == Short(CREDITS, 800, 801)
    assert await holder.open(1) == Leased(1, 790)


async def test_each_kind_of_budget_calls_back(hot: HotBench) -> None:
    """Requests at once and units of a quota are leased as credits are."""
    await build(hot.store, truth(0))
    await Holder(hot.store, like(0, flight(16), units(1, 80))).open(2)
    short_of_units = await ask(hot.store, hold("r", 0, units(79, 80)))
    assert short_of_units == Short("units:llm", 78, 80, leased=True)
    short_of_flight = await ask(hot.store, hold("r", 0, flight(2)._replace(amount=1)))
    assert short_of_flight == Short("flight:llm", 0, 2, leased=True)


async def test_a_called_back_rate_is_not_renewed(hot: HotBench) -> None:
    """While leases are called back no turns are promised for longer."""
    await build(hot.store, truth(100))
    holder = Holder(hot.store, like(1, rate=rate(100)))
    assert await holder.open(5) == Leased(5, 95, NOW_US + 5 * TEN_MS_US)
    await ask(hot.store, hold("dear", 96))
    assert await holder.top_up(2, 5, turns=5) == Leased(0, 95, 0, called_back=True)


async def test_a_budget_over_its_limit_calls_its_leases_back(hot: HotBench) -> None:
    """Usage may turn out higher than what was held: then a request is refused even when it asks
    for nothing of the budget, so no lease may go on to admit it."""
    await build(hot.store, truth(800, used=[Used("units:llm", 100, 2)]))
    holder = Holder(hot.store, like(1, flight(99), units(0, 10)))
    assert await holder.open(5) == Leased(5, 795)
    await hot.store.publish([said(800, 2, used=(Used("units:llm", 100, 10),))])
    assert await holder.top_up(2, 1) == Leased(1, 794)
    await hot.store.publish([said(800, 3, used=(Used("units:llm", 100, 11),))])
    assert await holder.tell(3, hold("a", 1, flight(99), units(0, 10))) == Leased(
        0, 794, called_back=True
    )
    assert await Holder(hot.store, like(1, units(0, 10)), "m").open(5) is None
    assert await Holder(hot.store, like(1), "n").open(1) == Leased(1, 793)
    assert await holder.close(4) == Leased(0, 798)


async def test_windows_that_rolled_on_while_leased(hot: HotBench) -> None:
    """A lease of the old period takes nothing from the new one: it is told and closed as ever, and
    gets no more."""
    await build(hot.store, truth(800, used=[Used("units:llm", 100, 9)]))
    holder = Holder(hot.store, like(1, units(1, 100), flight(99)))
    assert await holder.open(5) == Leased(5, 795)
    assert await ask(hot.store, hold("r", 1, units(7, 100, window_s=200))) == Admitted(794)
    draws = [hold("a", 1, units(1, 100), flight(99)), hold("b", 1, units(1, 100), flight(99))]
    await hot.store.publish([said(800, 2, "b")])
    told = await holder.call(2, Step.KEEP, *draws, wanted=5)
    assert told == Leased(0, 795)
    assert await leases(hot.store) == [("l", f"3|{EXPIRES_S}|units:llm~100~3|flight:llm~0~3")]
    assert await holder._replace(lease_id="m").open(5) is None
    assert await holder.close(3) == Leased(0, 798)
    await hot.store.publish([said(800, 3, "a")])
    await assert_left(hot.store, units(0, 100, window_s=200), 93)
    await assert_left(hot.store, flight(99), 99)


async def test_an_old_window_is_judged_by_the_newer(hot: HotBench) -> None:
    """A lease of the old period goes when the new one is over its limit: so would its requests."""
    await build(hot.store, truth(800))
    holder = Holder(hot.store, like(1, units(0, 10)))
    await holder.open(5)
    await hot.store.publish([said(800, 2, used=(Used("units:llm", 200, 11),))])
    assert await holder.top_up(2, 1) == Leased(0, 795, called_back=True)


async def test_a_lease_moves_a_budget_on_to_its_window(hot: HotBench) -> None:
    """One of a new period is of the whole new quota, and the old one counts no longer."""
    await build(hot.store, truth(800, used=[Used("units:llm", 100, 77)]))
    assert await Holder(hot.store, like(1, units(1, 80, window_s=200))).open(99) == Leased(10, 790)
    assert (await copy_of(hot.store)).used == [Used("units:llm", 200, 0)]
    await assert_left(hot.store, units(0, 80, window_s=200), 70)


async def test_a_refused_lease_moves_no_window(hot: HotBench) -> None:
    """Who asks for a lease of the future and gets none has changed nothing."""
    await build(hot.store, truth(0, used=[Used("units:llm", 100, 7)]))
    before = await copy_of(hot.store)
    assert await Holder(hot.store, like(1, units(1, 80, window_s=200), flight(9))).open(9) is None
    assert await copy_of(hot.store) == before
