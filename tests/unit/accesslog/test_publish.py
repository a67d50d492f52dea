"""Telling the hot copy, and keeping the promises of those who could not."""

from collections.abc import Sequence

from accesslog.settings import AccessLogSettings, PublishSettings
from billing.reservations import Publication
from tests.unit.accesslog.door import ANNA, BOB, Ledger, open_door


async def test_what_was_told_is_struck_out() -> None:
    """After a round no promise is open, so that nobody tells of it again."""
    door = await open_door()
    await door.settle(door.entry(await door.admit()))
    door.clock.forward(60)
    assert len(await door.ledger.promises(5, 10, door.clock.now_s())) == 1
    await door.desk.publisher.keep_promises()
    assert await door.ledger.promises(5, 10, door.clock.now_s()) == {}
    assert door.count("publications_total", fate="caught_up") == 0


async def test_a_dead_settlers_promise_is_kept_by_another() -> None:
    """A settler that died between COMMIT and telling leaves a promise that the next one keeps."""
    ledger = Ledger()
    dead, alive = await open_door(ledger=ledger), await open_door(ledger=ledger)
    tickets = [await dead.admit(account) for account in (ANNA, BOB)]
    await alive.copy(ANNA, BOB)
    dead.hot.away = True
    await dead.settle(*map(dead.entry, tickets))
    await alive.desk.publisher.keep_promises()
    assert await alive.held(ANNA) == [tickets[0].reservation_id]
    alive.clock.forward(6)
    await alive.desk.publisher.keep_promises()
    assert await alive.held(ANNA) == await alive.held(BOB) == []
    assert alive.count("publications_total", fate="caught_up") == 2


async def test_faults_of_a_round_are_told_and_passed() -> None:
    """With the ledger or the hot copy away a round changes nothing, and the next one does it."""
    door = await open_door()
    ticket = await door.admit()
    await door.copy(ANNA)
    door.hot.away = True
    await door.settle(door.entry(ticket))
    door.clock.forward(60)
    await door.desk.publisher.keep_promises()
    door.hot.away, door.ledger.away = False, True
    await door.desk.publisher.keep_promises()
    assert len([text for text in door.told if text.startswith("promises_postponed")]) >= 1
    door.ledger.away = False
    await door.desk.publisher.keep_promises()
    assert await door.held() == []


async def test_what_waits_to_be_struck_out_is_bounded() -> None:
    """Beyond the bound a batch is told twice instead of remembered."""
    settings = AccessLogSettings(publish=PublishSettings(kept_batches=1))
    door = await open_door(settings)
    for _ in range(3):
        await door.settle(door.entry(await door.admit()))
    door.clock.forward(60)
    await door.desk.publisher.keep_promises()
    assert door.count("publications_total", fate="caught_up") == 2
    assert await door.ledger.promises(5, 10, door.clock.now_s()) == {}


async def test_a_large_batch_is_told_in_parts() -> None:
    """No call tells of more accounts than is set, and all of them are told."""
    settings = AccessLogSettings(publish=PublishSettings(call_accounts=1))
    door = await open_door(settings)
    tickets = [await door.admit(account) for account in (ANNA, BOB)]
    await door.copy(ANNA, BOB)
    told: list[int] = []
    publish = door.hot.publish

    async def counting(publications: Sequence[Publication]) -> None:
        told.append(len(publications))
        await publish(publications)

    door.hot.publish = counting  # type: ignore[method-assign]
    await door.settle(*map(door.entry, tickets))
    assert told == [1, 1]
    assert await door.held(ANNA) == await door.held(BOB) == []
