"""One suite for every hot copy (memory, Redis, Redis Cluster): how copies come, change and go."""

import itertools
from collections.abc import Sequence

import pytest

from billing.reservations import (
    CREDITS,
    Admitted,
    Hold,
    Short,
    Used,
)
from billing.stores.protocol import Absent
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
    right_to_load,
    said,
    truth,
    units,
)


async def test_one_asker_gets_the_right_to_load(hot: HotBench) -> None:
    """Of several workers that find no copy, one loads it and the others wait."""
    answers = [await ask(worker, hold("r")) for worker in hot.workers]
    assert [isinstance(answer, Absent) and answer.mine for answer in answers] == [True, False]
    assert await hot.store.read([A]) == {}


async def test_a_loaded_copy_admits(hot: HotBench) -> None:
    """After the load every worker is answered from the copy."""
    await build(hot.store, truth(100))
    assert await ask(hot.workers[1], hold("r", 40)) == Admitted(60)


async def test_a_load_without_the_right_is_refused(hot: HotBench) -> None:
    """A token that was never given builds nothing, with and without a load under way."""
    assert await hot.store.load(EPOCH, [("never given", truth(100))]) == [False]
    token = await right_to_load(hot.store)
    assert await hot.store.load(EPOCH, [("never given", truth(100))]) == [False]
    assert await hot.store.load(EPOCH, [(token, truth(5))]) == [True]
    assert await ask(hot.store, hold("r", 6)) == Short(CREDITS, 5, 6)


async def test_a_right_is_used_once(hot: HotBench) -> None:
    """The same token cannot put an old truth over a copy that has moved on."""
    token = await right_to_load(hot.store)
    assert await hot.store.load(EPOCH, [(token, truth(100))]) == [True]
    assert await ask(hot.store, hold("r", 100)) == Admitted(0)
    assert await hot.store.load(EPOCH, [(token, truth(100))]) == [False]
    assert await ask(hot.store, hold("s", 1)) == Short(CREDITS, 0, 1)


async def test_the_right_to_load_ends(hot: HotBench) -> None:
    """A loader that died is followed by another after two seconds, and cannot come back."""
    first = await right_to_load(hot.store)
    await hot.let_rights_end()
    second = await right_to_load(hot.workers[1])
    assert second != first
    assert await hot.store.load(EPOCH, [(first, truth(100))]) == [False]
    assert await hot.workers[1].load(EPOCH, [(second, truth(30))]) == [True]
    assert (await copy_of(hot.store)).posted_nanos == 30


async def test_a_right_that_ended_builds_nothing(hot: HotBench) -> None:
    """A loader that was stopped for longer than its right cannot build from what it read before."""
    token = await right_to_load(hot.store)
    await hot.let_rights_end()
    assert await hot.store.load(EPOCH, [(token, truth(100))]) == [False]
    assert await hot.store.read([A]) == {}


async def test_loads_of_several_accounts_are_judged_one_by_one(hot: HotBench) -> None:
    """One lost right does not stop the load of another account in the same call."""
    token_a, token_b = await right_to_load(hot.store, A), await right_to_load(hot.store, B)
    await hot.store.publish([said(1, 2)])
    copies = [(token_a, truth(10)), (token_b, truth(20, account=B))]
    assert await hot.store.load(EPOCH, copies) == [False, True]


async def test_a_dropped_copy_is_built_anew(hot: HotBench) -> None:
    """Who drops a copy makes the next asker load one, and stops a load that read before."""
    await build(hot.store, truth(100))
    token = await right_to_load(hot.store, B)
    await hot.workers[1].drop([A, B])
    assert await hot.store.read([A, B]) == {}
    assert await hot.store.load(EPOCH, [(token, truth(9, account=B))]) == [False]
    await build(hot.store, truth(30))
    assert await ask(hot.store, hold("r", 31)) == Short(CREDITS, 30, 31)


async def test_a_flush_takes_copies_and_rights(hot: HotBench) -> None:
    """After a flush there is no copy, and a load that began before it builds none."""
    await build(hot.store, truth(100))
    token = await right_to_load(hot.store, B)
    await hot.flush()
    assert await hot.store.load(EPOCH, [(token, truth(9, account=B))]) == [False]
    assert isinstance(await ask(hot.store, hold("r", 1)), Absent)


async def test_a_publication_moves_the_balance_and_ends(hot: HotBench) -> None:
    """After a settlement the copy has the new balance and no longer the hold."""
    await build(hot.store, truth(100))
    await ask(hot.store, hold("r", 60))
    await hot.store.publish([said(70, 2, "r", overdraft=5)])
    assert await copy_of(hot.store) == truth(70, overdraft=5, version=2, used=[])
    assert await ask(hot.store, hold("s", 76)) == Short(CREDITS, 75, 76)


async def test_an_older_version_never_overwrites(hot: HotBench) -> None:
    """A late publication takes its ended reservations away and nothing else."""
    await build(hot.store, truth(100, version=5))
    await ask(hot.store, hold("r", 60))
    await hot.store.publish([said(999, 4, "r", overdraft=999)])
    assert await copy_of(hot.store) == truth(100, version=5, used=[])
    assert await ask(hot.store, hold("s", 101)) == Short(CREDITS, 100, 101)


PUBLICATIONS = (
    said(90, 2, "r", used=(Used("units:llm", 100, 4),)),
    said(70, 3, "s", used=(Used("day:llm", 100, 20),)),
    said(65, 4, used=(Used("units:llm", 100, 6),), overdraft=1),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_publications_in_any_order_and_twice(hot: HotBench, order: Sequence[int]) -> None:
    """Whatever the order, and however often each comes, the copy ends at what Postgres says."""
    await build(hot.store, truth(100))
    for ident in ("r", "s", "t"):
        await ask(hot.store, hold(ident, 10, units(2), flight(3)))
    for index in (*order, *order[::-1]):
        await hot.store.publish([PUBLICATIONS[index]])
    live = hold("t", 10, units(2), flight(3))
    expected = truth(65, overdraft=1, version=4, pending=[live])
    found = await copy_of(hot.store)
    assert [u for u in found.used if u.used] == [
        Used("day:llm", 100, 20),
        Used("units:llm", 100, 6),
    ]
    assert (found.posted_nanos, found.overdraft_nanos, found.version) == (65, 1, 4)
    assert list(found.pending) == list(expected.pending)
    assert await ask(hot.store, hold("u", 57)) == Short(CREDITS, 56, 57)
    assert await ask(hot.store, hold("u", 56, units(3))) == Short("units:llm", 2, 10)
    assert await ask(hot.store, hold("u", 56, units(2), flight(2))) == Admitted(0)


async def test_a_window_of_the_past_is_not_published_over_the_present(hot: HotBench) -> None:
    """Usage of a period that is over does not reach the one that runs; a new one starts afresh."""
    await build(hot.store, truth(used=[Used("units:llm", 200, 3)]))
    await hot.store.publish([said(0, 2, used=(Used("units:llm", 100, 9),))])
    assert (await copy_of(hot.store)).used == [Used("units:llm", 200, 3)]
    await hot.store.publish([said(0, 3, used=(Used("units:llm", 300, 1),))])
    assert (await copy_of(hot.store)).used == [Used("units:llm", 300, 1)]


async def test_a_publication_for_an_absent_account_builds_nothing(hot: HotBench) -> None:
    """What a settlement says is not enough to admit on: live reservations are missing in it."""
    await hot.store.publish([said(100, 9)])
    assert await hot.store.read([A]) == {}
    assert isinstance(await ask(hot.store, hold("r", 1)), Absent)


async def test_a_publication_stops_a_load_under_way(hot: HotBench) -> None:
    """The loader may have read before the settlement; so it has to read and ask again."""
    token = await right_to_load(hot.store)
    await hot.workers[1].publish([said(40, 2, "r")])
    stale = truth(100, version=1, pending=[hold("r", 60)])
    assert await hot.store.load(EPOCH, [(token, stale)]) == [False]
    await build(hot.store, truth(40, version=2))
    assert await ask(hot.store, hold("s", 40)) == Admitted(0)


async def test_ends_of_unknown_reservations_are_harmless(hot: HotBench) -> None:
    """An end that was told before, or of a reservation that was never held, frees nothing."""
    await build(hot.store, truth(100))
    await ask(hot.store, hold("r", 60, flight(1)))
    await hot.store.publish([said(100, 2, "never held"), said(100, 2, "never held")])
    assert await ask(hot.store, hold("s", 41)) == Short(CREDITS, 40, 41)
    assert await ask(hot.store, hold("s", 1, flight(1))) == Short("flight:llm", 0, 1)


async def test_a_rebuilt_copy_holds_what_is_pending(hot: HotBench) -> None:
    """After a flush, reservations that Postgres knows are held again, with all their shares."""
    live = [hold("r", 60, units(4), flight(2)), hold("s", 10, units(1), flight(2))]
    await build(hot.store, truth(100, used=[Used("units:llm", 100, 2)], pending=live))
    assert list((await copy_of(hot.store)).pending) == [
        (h.reservation_id, h.record()) for h in live
    ]
    assert await ask(hot.store, hold("t", 31)) == Short(CREDITS, 30, 31)
    assert await ask(hot.store, hold("t", 0, units(4))) == Short("units:llm", 3, 10)
    assert await ask(hot.store, hold("t", 0, flight(2))) == Short("flight:llm", 0, 2)
    assert await ask(hot.store, live[0]) == Admitted(30)
    await hot.store.publish([said(100, 2, "r", "s")])
    assert await ask(hot.store, hold("t", 100, units(8), flight(1))) == Admitted(0)


async def test_pending_shares_of_another_window(hot: HotBench) -> None:
    """A rebuilt copy counts shares in the newest window that the truth or a reservation names."""
    live = [hold("old", 1, units(9, window_s=100)), hold("new", 1, units(3, window_s=200))]
    await build(hot.store, truth(9, used=[Used("units:llm", 100, 5)], pending=live))
    assert await ask(hot.store, hold("r", 0, units(8, window_s=200))) == Short("units:llm", 7, 10)
    await hot.store.publish([said(9, 2, "old")])
    assert await ask(hot.store, hold("r", 0, units(7, window_s=200))) == Admitted(8)


async def test_more_pending_than_balance(hot: HotBench) -> None:
    """A copy whose live reservations exceed the balance is built, and admits nothing more."""
    await build(hot.store, truth(50, pending=[hold("r", 80)]))
    assert await ask(hot.store, hold("s", 1)) == Short(CREDITS, -30, 1)


async def test_a_copy_of_an_older_epoch_is_no_copy(hot: HotBench) -> None:
    """After the epoch was raised, what stood in Redis before is never admitted on again."""
    await build(hot.store, truth(100))
    token = await right_to_load(hot.store, epoch=EPOCH + 1)
    waiting = await ask(hot.workers[1], hold("r", 1), EPOCH + 1)
    assert isinstance(waiting, Absent)
    assert not waiting.mine
    assert await hot.store.load(EPOCH + 1, [(token, truth(5))]) == [True]
    assert await ask(hot.store, hold("r", 5), EPOCH + 1) == Admitted(0)


async def test_an_asker_of_an_older_epoch_waits(hot: HotBench) -> None:
    """A worker that has not heard of the new epoch is not admitted and may not rebuild."""
    await build(hot.store, truth(100), epoch=EPOCH + 1)
    answer = await ask(hot.workers[1], hold("r", 1), EPOCH)
    assert isinstance(answer, Absent)
    assert not answer.mine
    assert await ask(hot.store, hold("s", 100), EPOCH + 1) == Admitted(0)


async def test_nobody_is_admitted_on_a_copy_that_is_being_rebuilt(hot: HotBench) -> None:
    """Once a worker of the new epoch rebuilds, the old copy is gone for workers of the old too."""
    await build(hot.store, truth(100))
    await right_to_load(hot.store, epoch=EPOCH + 1)
    answer = await ask(hot.workers[1], hold("r", 1), EPOCH)
    assert isinstance(answer, Absent)
    assert not answer.mine


async def test_a_lifetime_is_extended_in_the_record(hot: HotBench) -> None:
    """Periodic entries of a long stream move the end of life on, never back, and no hold."""
    await build(hot.store, truth(100))
    one = hold("r", 60, units(4), flight(2))
    await ask(hot.store, one)
    await hot.store.extend([(A, "r", EXPIRES_S + 30), (A, "r", EXPIRES_S + 20)])
    later = Hold("r", A, 60, EXPIRES_S + 30, one.budgets)
    assert list((await copy_of(hot.store)).pending) == [("r", later.record())]
    await hot.store.publish([said(100, 2, "r")])
    assert await ask(hot.store, hold("s", 100, units(10), flight(1))) == Admitted(0)


async def test_extending_what_is_not_held_is_harmless(hot: HotBench) -> None:
    """A life of an ended reservation, or of an account without a copy, is not brought back."""
    await build(hot.store, truth(100))
    await hot.store.extend([(A, "ended", EXPIRES_S + 30), (B, "r", EXPIRES_S + 30)])
    assert list((await copy_of(hot.store)).pending) == []
    assert B not in await hot.store.read([B])


async def test_reading_says_what_is_there(hot: HotBench) -> None:
    """A reader gets balance, version, usage and live reservations of accounts with a copy."""
    live = hold("r", 60, units(4))
    await build(hot.store, truth(100, overdraft=7, version=3, used=[Used("units:llm", 100, 2)]))
    await ask(hot.store, live)
    found = await hot.store.read([B, A])
    assert set(found) == {A}
    assert await copy_of(hot.store) == truth(
        100, overdraft=7, version=3, used=[Used("units:llm", 100, 2)], pending=[live]
    )
