"""Invariant 7 of the ledger check: the hot copy against Postgres, in memory and in a real Redis."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from billing.lease_calls import LeaseCall, Step
from billing.ledger import Settlement
from billing.reservations import Budget, Hold, Publication, Used
from billing.stores.memory import MemoryHotStore
from billing.stores.protocol import HotStore
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from tests.contract.copy_pair import EPOCH, Pair, open_pair
from tests.contract.desks import ANNA
from tollkeeper.operations import orders


@pytest.fixture(params=["memory", "redis"])
def copies_place(request: pytest.FixtureRequest) -> str:
    """The URL of the hot copy, empty for memory."""
    return "" if request.param == "memory" else request.getfixturevalue("redis_url")


@pytest.fixture
async def copies(copies_place: str) -> AsyncIterator[HotStore]:
    """An empty hot copy."""
    tokens = (f"token-{number}" for number in itertools.count())
    if not copies_place:
        yield MemoryHotStore(lambda: 0.0, lambda: next(tokens))
        return
    client = connect(copies_place, 5.0)
    yield RedisHotStore(client, lambda: next(tokens), 5.0)
    await client.aclose()


@pytest.fixture
async def pair(database: str, copies: HotStore) -> AsyncIterator[Pair]:
    """An account with a subscription, a settled and a pending request, and its copy."""
    async with open_pair(database, copies) as opened:
        yield opened


async def test_equal_copy_holds(pair: Pair) -> None:
    """A copy that was built from Postgres equals it, budgets and live reservations included."""
    proof = await pair.prove()
    assert (proof.holds, proof.checked) == (True, "1 copies")


async def test_extended_reservation_is_the_same(pair: Pair) -> None:
    """The end of a reservation's life may differ for a moment; what it holds may not."""
    (pending, _), *_ = (await pair.truth.truth([pair.account.id], 0))[pair.account.id].pending
    await pair.copies.extend([(pair.account.id, pending, 2_000_000_000)])
    assert (await pair.prove()).holds


async def test_lost_publication_is_found(pair: Pair) -> None:
    """A balance that Redis was never told of breaks the invariant."""
    async with pair.office.desk.act(ANNA, "test") as act:
        await orders.topup(act, pair.account.id, 5, "more")
    proof = await pair.prove()
    assert proof.broken_row == f"account {pair.account.id}"
    assert proof.broken_how == "posted_nanos is 960 in Redis and 965 in Postgres"


async def test_publication_under_way_is_waited_for(pair: Pair) -> None:
    """A difference that is gone at the next look breaks nothing."""
    async with pair.office.desk.act(ANNA, "test") as act:
        await orders.topup(act, pair.account.id, 5, "more")
    assert (await pair.prove(between=pair.publish)).holds


async def test_leaked_hold_is_found(pair: Pair) -> None:
    """A reservation that lives in Redis alone would refuse good requests for ever."""
    leaked = pair.work.request(pair.account, 0)
    await pair.hold(leaked)
    proof = await pair.prove()
    assert f"reservation {leaked.reservation_id} lives in Redis" in proof.broken_how


async def test_forgotten_hold_is_found(pair: Pair) -> None:
    """A pending reservation that Redis does not hold would let the account overspend."""
    forgotten = pair.work.request(pair.account, 0)
    await pair.work.admit(forgotten)
    proof = await pair.prove()
    assert f"reservation {forgotten.reservation_id} is pending in Postgres" in proof.broken_how


async def test_hold_of_another_amount_is_found(pair: Pair) -> None:
    """The same reservation holds the same on both sides."""
    request = pair.work.request(pair.account, 0)
    await pair.work.admit(request)
    await pair.hold(request, Budget("flight:llm", 0, 10, 1))
    proof = await pair.prove()
    assert f"reservation {request.reservation_id} holds" in proof.broken_how


async def _lease(pair: Pair, ident: str, amount_nanos: int, *budgets: Budget) -> LeaseCall:
    """A lease of one request."""
    asked = Hold("", pair.account.id, amount_nanos, 0, budgets)
    opened = LeaseCall(ident, 1, Step.OPEN, 1, asked, 2_000_000_000)
    (answer,) = await pair.copies.tend(EPOCH, [opened])
    assert answer is not None
    assert answer.granted == 1
    return opened


async def _drawn(pair: Pair, *budgets: Budget) -> Settlement:
    """A request of 100 nano-USD that was admitted from a lease, and is told of by nobody yet."""
    request = pair.work.request(pair.account, 0)
    held = Hold(request.reservation_id, pair.account.id, 100, request.expires_s, budgets)
    drawn = replace(request, record=held.record())
    await pair.work.admit(drawn)
    return drawn


UNITS = Budget("units:llm", 2_000_000_000, 1000, 5)


@pytest.mark.parametrize(("leased", "held"), [([100], [()]), ([60, 40], [()]), ([100], [(UNITS,)])])
async def test_what_leases_cover_is_no_difference(
    pair: Pair, leased: list[int], held: list[tuple[Budget, ...]]
) -> None:
    """Requests that were admitted from a lease are in Postgres before the copy is told of them, and
    for long when their worker died: what the leases hold is for them."""
    for number, amount in enumerate(leased):
        await _lease(pair, f"l{number}", amount, *held[0])
    for budgets in held:
        await _drawn(pair, *budgets)
    assert (await pair.prove()).holds


@pytest.mark.parametrize(
    ("leased", "budgets", "drawn"),
    [
        (99, (), ()),
        (100, (), (UNITS,)),
        (100, (UNITS._replace(amount=4),), (UNITS,)),
        (100, (UNITS._replace(window_s=2_000_000_001),), (UNITS,)),
        (100, (UNITS._replace(name="period:llm"),), (UNITS,)),
    ],
)
async def test_what_leases_do_not_cover_is_found(
    pair: Pair, leased: int, budgets: tuple[Budget, ...], drawn: tuple[Budget, ...]
) -> None:
    """Whether credits or shares are missing, and of whatever window."""
    await _lease(pair, "l", leased, *budgets)
    forgotten = await _drawn(pair, *drawn)
    proof = await pair.prove()
    assert f"reservation {forgotten.reservation_id} is pending in Postgres" in proof.broken_how


async def test_more_than_leases_cover_is_found(pair: Pair) -> None:
    """Together their requests may need no more than there is."""
    await _lease(pair, "l", 107)
    first, second = await _drawn(pair), await _drawn(pair)
    proof = await pair.prove()
    assert f"reservation {first.reservation_id} is pending in Postgres" in proof.broken_how
    told = Hold(first.reservation_id, pair.account.id, 100, first.expires_s)
    call = LeaseCall("l", 2, Step.KEEP, 0, Hold("", pair.account.id, 107, 0), 0, [told])
    await pair.copies.tend(EPOCH, [call])
    proof = await pair.prove()
    assert f"reservation {second.reservation_id} is pending in Postgres" in proof.broken_how


async def test_a_lease_does_not_hide_what_the_copy_has_too_much(pair: Pair) -> None:
    """A hold that Postgres does not know is a leak, leases or not."""
    await _lease(pair, "l", 100)
    await _drawn(pair)
    leaked = pair.work.request(pair.account, 0)
    await pair.hold(leaked)
    proof = await pair.prove()
    assert f"reservation {leaked.reservation_id} lives in Redis" in proof.broken_how


async def test_wrong_quota_is_found(pair: Pair) -> None:
    """What was used of the period is the same on both sides."""
    found = (await pair.truth.truth([pair.account.id], pair.now_s()))[pair.account.id]
    units = next(used for used in found.used if used.name == "units:llm")
    wrong = Used(units.name, units.window_s, units.used + 1)
    await pair.copies.publish(
        [
            Publication(
                found.account_id,
                found.posted_nanos,
                found.overdraft_nanos,
                found.version,
                (wrong,),
            )
        ]
    )
    proof = await pair.prove()
    assert proof.broken_how == "used of units:llm is 4 in Redis and 3 in Postgres"


async def test_traffic_that_never_rests_breaks_nothing(pair: Pair) -> None:
    """Differences that are others at each look are traffic, not damage."""

    async def settle_one() -> None:
        await pair.work.settle(pair.work.request(pair.account, 1))

    async with pair.office.desk.act(ANNA, "test") as act:
        await orders.topup(act, pair.account.id, 5, "more")
    assert (await pair.prove(between=settle_one)).holds
