"""The story: batches become money exactly once, whatever is delivered and whatever fails."""

from msgspec.structs import replace as replace_fields

from accesslog.judge import Priced
from accesslog.settle import POISON, Tally
from billing.errors import InvalidInput, StoreUnavailable
from tests.unit.accesslog.door import (
    ANNA,
    BOB,
    CHAT_NANOS,
    FUNDS_NANOS,
    NOW_S,
    Ledger,
    make_ticket,
    open_door,
)


async def test_an_entry_becomes_money_and_the_hot_copy_hears_of_it() -> None:
    """Charged once, credits back, the reservation gone from the hot copy, everything counted."""
    door = await open_door()
    ticket = await door.admit()
    await door.copy(ANNA)
    assert await door.held() == [ticket.reservation_id]
    tally = await door.settle(door.entry(ticket))
    assert tally == Tally(settled=1, charged_nanos=CHAT_NANOS)
    assert door.posted_nanos() == FUNDS_NANOS - CHAT_NANOS
    assert door.state(ticket) == "settled"
    assert await door.held() == []
    (copy,) = (await door.hot.read([ANNA])).values()
    assert copy.posted_nanos == FUNDS_NANOS - CHAT_NANOS
    assert door.count("ended_total", state="settled") == 1
    assert door.count("charged_nano_usd_total") == CHAT_NANOS
    assert door.count("settled_units_total", meter="tokens") == 150
    assert door.count("outcomes_total", route="chat", row="answered") == 1
    assert door.count("publications_total", fate="told") == 1
    assert door.count("lag_seconds_count") == 1


async def test_a_refusal_gives_the_credits_back() -> None:
    """What was not answered is released: no charge, no event, no hold."""
    door = await open_door()
    ticket = await door.admit()
    await door.copy(ANNA)
    assert await door.settle(door.entry(ticket, code=503)) == Tally(released=1)
    assert door.posted_nanos() == FUNDS_NANOS
    assert (door.state(ticket), await door.held()) == ("released", [])
    assert door.ledger.events == {}


async def test_twice_in_one_batch_is_once() -> None:
    """The same entry twice in a batch is one settlement and one duplicate."""
    door = await open_door()
    entry = door.entry(await door.admit())
    assert await door.settle(entry, entry, entry) == Tally(
        settled=1, duplicates=2, charged_nanos=CHAT_NANOS
    )
    assert door.posted_nanos() == FUNDS_NANOS - CHAT_NANOS
    assert door.count("duplicates_total") == 2


async def test_twice_in_two_batches_is_once() -> None:
    """What comes again later, even before the journal's row, is a duplicate and nothing more."""
    door = await open_door()
    entry = door.entry(make_ticket(1))
    await door.settle(entry)
    assert await door.settle(entry) == Tally(duplicates=1)
    assert door.posted_nanos() == FUNDS_NANOS - CHAT_NANOS
    assert door.ledger.quarantined == {}


async def test_the_same_id_with_another_content_goes_to_quarantine() -> None:
    """In one batch or in two, the first content stands and the other is kept for a person."""
    door = await open_door()
    first, second = await door.admit(), await door.admit()
    dearer = {"usage": {"input_tokens": 100, "output_tokens": 51}}
    tally = await door.settle(door.entry(first), door.entry(first, **dearer))
    assert tally == Tally(settled=1, conflicts=1, charged_nanos=CHAT_NANOS)
    await door.settle(door.entry(second))
    assert (await door.settle(door.entry(second, **dearer))).conflicts == 1
    assert door.posted_nanos() == FUNDS_NANOS - 2 * CHAT_NANOS
    kept = {row.reservation_id for row in door.ledger.quarantined.values()}
    assert kept == {first.reservation_id, second.reservation_id}
    assert door.count("conflicts_total") == 2
    assert any(text.startswith("conflict") for text in door.told)


async def test_out_of_order_does_not_matter() -> None:
    """Two accounts' entries in any order end in the same balances."""
    balances = []
    for order in (1, -1):
        door = await open_door()
        tickets = [await door.admit(account) for account in (ANNA, BOB, ANNA, BOB)]
        for ticket in tickets[::order]:
            await door.settle(door.entry(ticket))
        balances.append((door.posted_nanos(ANNA), door.posted_nanos(BOB)))
    assert balances[0] == balances[1] == (FUNDS_NANOS - 2 * CHAT_NANOS,) * 2


async def test_an_intermediate_entry_extends_and_never_settles() -> None:
    """A stream that goes on keeps its hold alive in the ledger and in the hot copy."""
    door = await open_door()
    ticket = await door.admit()
    await door.copy(ANNA)
    door.clock.forward(400)
    assert await door.settle(door.entry(ticket, ongoing=True)) == Tally()
    known = door.ledger.register.known[ANNA, ticket.reservation_id]
    assert (known.state, known.expires_s) == ("pending", NOW_S + 1_000)
    (copy,) = (await door.hot.read([ANNA])).values()
    assert f"|{NOW_S + 1_000}|" in copy.pending[0][1]
    assert door.posted_nanos() == FUNDS_NANOS
    assert door.count("extended_total") == 1


async def test_an_intermediate_entry_beside_the_last_one_is_passed_over() -> None:
    """When both come in one batch, in any order, the request has ended."""
    door = await open_door()
    ticket = await door.admit()
    tally = await door.settle(door.entry(ticket), door.entry(ticket, ongoing=True))
    assert tally.settled == 1
    assert door.count("extended_total") == 0
    await door.settle(door.entry(ticket, ongoing=True))
    assert door.state(ticket) == "settled"


async def test_one_reservation_is_extended_once_per_batch() -> None:
    """Several entries of one stream in a batch are one extension."""
    door = await open_door()
    ticket = await door.admit()
    await door.settle(*[door.entry(ticket, ongoing=True)] * 5)
    assert door.count("extended_total") == 1


async def test_a_forged_entry_is_kept_and_the_others_settle() -> None:
    """A wrong MAC changes no money, is counted by its reason, and lies in quarantine."""
    door = await open_door()
    good = door.entry(await door.admit())
    forged = replace_fields(good, ticket="1.forged.mac")
    tally = await door.settle(good, forged)
    assert tally == Tally(settled=1, quarantined=1, charged_nanos=CHAT_NANOS)
    assert door.count("refused_total", reason="ticket_wrong_mac") == 1
    assert door.count("quarantined_total", reason="ticket_wrong_mac") == 1
    (row,) = door.ledger.quarantined.values()
    assert "1.forged.mac" in row.entry


async def test_a_lost_answer_of_commit_charges_once() -> None:
    """The store commits and its answer is lost: the next try finds it and posts nothing twice."""
    door = await open_door()
    entries = [door.entry(await door.admit()) for _ in range(3)]
    door.ledger.after = [StoreUnavailable("the connection was lost after COMMIT")]
    tally = await door.settle(*entries)
    assert tally == Tally(duplicates=3)
    assert door.posted_nanos() == FUNDS_NANOS - 3 * CHAT_NANOS
    assert door.ledger.batches == [3, 3]
    assert door.count("retries_total", fault="other") == 1


async def test_what_a_lost_answer_left_untold_is_told_later() -> None:
    """The batch of a lost answer promised to tell the hot copy, and the promise is kept."""
    door = await open_door()
    ticket = await door.admit()
    await door.copy(ANNA)
    door.ledger.after = [StoreUnavailable("lost after COMMIT")]
    await door.settle(door.entry(ticket))
    assert await door.held() == [ticket.reservation_id]
    door.clock.forward(6)
    await door.desk.publisher.keep_promises()
    assert await door.held() == []
    assert door.count("publications_total", fate="caught_up") == 1


async def test_a_ledger_that_is_away_is_waited_for() -> None:
    """Ten faults in a row are ten waits, longer and longer up to the bound, and then money."""
    door = await open_door()
    entry = door.entry(await door.admit())
    door.ledger.faults = [StoreUnavailable("away")] * 10
    assert (await door.settle(entry)).settled == 1
    assert door.slept_s[0] == 0.05
    assert door.slept_s == sorted(door.slept_s)
    assert door.slept_s[-1] == door.desk.settings.settle.max_backoff_s
    assert len(door.slept_s) == 10


async def test_a_hot_copy_that_is_away_does_not_undo_settlement() -> None:
    """Settled at once; the hot copy is told what is true by then, when it is back."""
    door = await open_door()
    first, second = await door.admit(), await door.admit()
    await door.copy(ANNA)
    door.hot.away = True
    assert (await door.settle(door.entry(first))).settled == 1
    await door.settle(door.entry(second, ongoing=True))
    assert door.count("publications_total", fate="postponed") == 1
    door.hot.away = False
    door.clock.forward(6)
    await door.settle(door.entry(second))
    await door.desk.publisher.keep_promises()
    assert await door.held() == []
    (copy,) = (await door.hot.read([ANNA])).values()
    assert copy.posted_nanos == FUNDS_NANOS - 2 * CHAT_NANOS


async def test_a_poison_entry_is_isolated() -> None:
    """One entry of twenty that the ledger never takes is quarantined; nineteen settle."""
    door = await open_door()
    tickets = [await door.admit() for _ in range(20)]
    poisoned = tickets[13].reservation_id

    def refuses(settlement: object) -> Exception | None:
        bad = getattr(settlement, "reservation_id", "") == poisoned
        return InvalidInput("value out of range") if bad else None

    door.ledger.refuses = refuses
    tally = await door.settle(*map(door.entry, tickets))
    assert (tally.settled, tally.quarantined) == (19, 1)
    (row,) = door.ledger.quarantined.values()
    assert (row.reservation_id, row.reason) == (poisoned, POISON)
    assert "value out of range" in row.entry
    assert door.posted_nanos() == FUNDS_NANOS - 19 * CHAT_NANOS
    assert door.slept_s == []


async def test_amounts_that_would_leave_the_books_are_poison() -> None:
    """A charge that no balance can hold is kept for a person, and the other entry settles."""
    ledger = Ledger()
    door = await open_door(ledger=ledger)
    dear, fair = await door.admit(), await door.admit()
    judged = door.desk.judge.judge([door.entry(dear), door.entry(fair)])
    entry, settlement = judged.priced[0]
    judged.priced[0] = Priced(entry, replace_fields(settlement, price_nanos=2**62))
    ledger.books.credits(ANNA).debits = 1
    tally = await door.desk.settler.settle(judged)
    assert (tally.settled, tally.quarantined) == (1, 1)
    (row,) = ledger.quarantined.values()
    assert (row.reservation_id, row.reason) == (dear.reservation_id, POISON)


async def test_an_unknown_account_is_poison() -> None:
    """A ticket of an account that the ledger does not have is kept for a person."""
    door = await open_door()
    stranger = make_ticket(1, account_id="0198c0de-0000-7000-8000-00000000dead")
    good = await door.admit()
    tally = await door.settle(door.entry(stranger), door.entry(good))
    assert (tally.settled, tally.quarantined) == (1, 1)


async def test_two_settlers_share_the_work() -> None:
    """The same entries given to two settlers on one ledger are settled once."""
    ledger = Ledger()
    one, two = await open_door(ledger=ledger), await open_door(ledger=ledger)
    entries = [one.entry(await one.admit()) for _ in range(10)]
    tally = await one.settle(*entries[:7])
    tally.merge(await two.settle(*entries[3:]))
    assert (tally.settled, tally.duplicates) == (10, 4)
    assert one.posted_nanos() == FUNDS_NANOS - 10 * CHAT_NANOS


async def test_a_late_entry_ends_what_had_expired() -> None:
    """An expired reservation becomes late: what was charged for it is given back, usage billed."""
    door = await open_door(ledger=Ledger(lambda _route: True))
    ticket = await door.admit()
    door.clock.forward(601)
    await door.ledger.expire(door.clock.us, 10)
    charged_nanos = FUNDS_NANOS - door.posted_nanos()
    assert charged_nanos > CHAT_NANOS
    tally = await door.settle(door.entry(ticket))
    assert (tally.late, tally.settled) == (1, 0)
    assert door.posted_nanos() == FUNDS_NANOS - CHAT_NANOS
    assert door.count("ended_total", state="late") == 1


async def test_a_quarantine_that_does_not_answer_is_waited_for() -> None:
    """Setting apart and extending are tried until the ledger answers, too."""
    door = await open_door()
    ticket = await door.admit()
    ongoing = door.entry(ticket, ongoing=True)
    entries = [replace_fields(ongoing, ticket="x"), ongoing]
    door.ledger.away = True

    async def comes_back(seconds: float) -> None:
        door.slept_s.append(seconds)
        door.ledger.away = len(door.slept_s) < 4

    door.desk.settler._backoff._sleep = comes_back
    tally = await door.settle(*entries)
    assert tally.quarantined == 1
    assert len(door.slept_s) == 4
    assert door.count("extended_total") == 1
