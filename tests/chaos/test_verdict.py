"""The harness can fail: each kind of difference, planted into books that are right, is found."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack
from typing import Any

import pytest

from tests.chaos.arena import CREDIT
from tests.chaos.held import copy_differences
from tests.chaos.traffic import Answer, Payer, Witness
from tests.chaos.verdict import Books, Noted, differences, unused_leases
from tollkeeper.stack.customers import Customer

ACCOUNT = "a1"
Plant = Callable[[Witness, Books], object]


def right_books() -> tuple[Witness, Books]:
    """Three credits paid in, two pings answered, billed and settled, one that expired."""
    payer = Payer(Customer("payer", ACCOUNT, "k1", "secret"), {"ping": 1}, [(0.0, 3 * CREDIT)])
    answers = [Answer(1.0, 0.1, ACCOUNT, "ping", 200, "", ident) for ident in ("r1", "r2")]
    seen = Witness({ACCOUNT: payer}, answers, [])
    books = Books(
        noted=[Noted("ping", ident, ACCOUNT, 1.0) for ident in ("r1", "r2")],
        events={ident: event(ident) for ident in ("r1", "r2")},
        reservations={
            "r1": end("r1", "settled"),
            "r2": end("r2", "late"),
            "r3": end("r3", "expired"),
        },
        posted={ACCOUNT: CREDIT},
        quarantine=[],
        replay={},
    )
    return seen, books


def event(ident: str, **changed: Any) -> dict[str, Any]:
    row = {"id": ident, "account_id": ACCOUNT, "route": "ping", "outcome": "answered"}
    return {**row, "status": "billed", "price_nanos": CREDIT, "facts": "{}", **changed}


def end(ident: str, state: str, route: str = "ping") -> dict[str, Any]:
    row = {"id": ident, "account_id": ACCOUNT, "route": route, "state": state}
    return {**row, "quoted_nanos": CREDIT}


def left(books: Books, worker_deaths: int, amount_nanos: int) -> None:
    """A lease that is left in Redis."""
    books.worker_deaths = worker_deaths
    books.left_leases = [(ACCOUNT, f"{amount_nanos}|9")]


def found(plant: Plant) -> list[str]:
    seen, books = right_books()
    plant(seen, books)
    books.find_lost()
    return list(differences(seen, books))


def test_right_books_have_no_difference() -> None:
    """What is as it should be is not complained of."""
    assert found(lambda _seen, _books: None) == []


def test_an_answer_in_the_moment_of_a_kill_may_expire() -> None:
    """Only in the moment when Envoy was killed, and only as expired without a charge."""

    def lose(seen: Witness, books: Books) -> None:
        books.noted.append(Noted("ping", "r3", ACCOUNT, 9.0))
        seen.envoy_kills_s.append(9.1)

    assert found(lose) == []


@pytest.mark.parametrize(("worker_s", "envoy_s", "may"), [(9.1, 9.1, True), (5.0, 9.1, False)])
def test_what_two_deaths_in_one_moment_hide_may_be_unknown(
    *, worker_s: float, envoy_s: float, may: bool
) -> None:
    """An answer that nobody has heard of, because its worker was killed as well as Envoy; not where
    the worker was killed at another time."""

    def lose(seen: Witness, books: Books) -> None:
        books.noted.append(Noted("ping", "r99", ACCOUNT, 9.0))
        seen.envoy_kills_s.append(envoy_s)
        seen.worker_kills_s.append(worker_s)

    assert (found(lose) == []) is may


def test_a_dead_worker_may_leave_a_lease() -> None:
    """Of no more than the account ever had."""
    assert found(lambda _, books: left(books, 1, 3 * CREDIT)) == []


PLANTED: dict[str, tuple[Plant, str]] = {
    "lost": (lambda _, b: b.events.pop("r1"), "answered and not billed"),
    "lost later": (
        lambda _, b: b.noted.append(Noted("ping", "r3", ACCOUNT, 9.0)),
        "answered and not billed (expired)",
    ),
    "never answered": (lambda _, b: b.noted.pop(), "billed and not answered"),
    "answered twice": (lambda _, b: b.noted.append(b.noted[0]), "answered 2 times"),
    "pending": (lambda _, b: b.reservations.update(r3=end("r3", "pending")), "pending"),
    "two ends": (
        lambda _, b: b.reservations.update(r1=end("r1", "expired")),
        "billed and expired",
    ),
    "no event": (
        lambda _, b: b.reservations.update(r3=end("r3", "settled")),
        "settled without a usage event",
    ),
    "no reservation": (lambda _, b: b.reservations.pop("r1"), "usage without a reservation"),
    "price": (lambda _, b: b.events.update(r1=event("r1", price_nanos=7)), "prices of ping"),
    "review": (
        lambda _, b: b.events.update(r1=event("r1", status="needs_review")),
        "needs_review",
    ),
    "balance": (lambda _, b: b.posted.update(a1=CREDIT + 1), "balance 1000001, expected 1000000"),
    "expiry charge": (
        lambda _, b: b.reservations.update(r3=end("r3", "expired", "reported")),
        "expected 0",
    ),
    "overspent": (lambda s, _: s.payers[ACCOUNT].paid_in.append((5.0, -3 * CREDIT)), "past its"),
    "a living worker's lease": (lambda _, b: left(b, 0, CREDIT), "and no worker died"),
    "a dead worker's lease": (lambda _, b: left(b, 1, 4 * CREDIT), "was left with 4000000"),
    "quarantine": (lambda _, b: b.quarantine.append({"reason": "conflict"}), "quarantine"),
    "unknown": (
        lambda s, _: s.answers.append(Answer(1.0, 0.1, ACCOUNT, "ping", 200, "", "r9")),
        "do not know it",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_found(name: str) -> None:
    """One row changed is one sentence or more, and one of them names it."""
    plant, sentence = PLANTED[name]
    assert any(sentence in line for line in found(plant)), found(plant)


COPY = {b"v": b"-2", b"p": b"5", b"o": b"2", b"a": b"7"}
COUNTED = COPY | {b"b": b"|flight:llm|rate:llm", b"c": pack("<6d", 0, 0, 0, 9, 0, 0)}


def test_a_copy_that_holds_nothing_has_no_difference() -> None:
    """All of the balance is available; what counts a rate holds nothing."""
    assert list(copy_differences("payer", COUNTED)) == []
    assert list(copy_differences("payer", {b"l": b"a loader's token"})) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({b"a": b"6"}, "6 available of 5 and overdraft 2"),
        ({b"c": pack("<6d", 0, 9, 1, 9, 0, 0)}, "1.0 of flight:llm is held"),
        ({b"k": b"%ID"}, "k is still there: %ID"),
        ({b"t": b"#ID"}, "t is still there: #ID"),
    ],
)
def test_what_a_copy_still_holds_is_found(changed: dict[bytes, bytes], sentence: str) -> None:
    """Credits, a counted budget, a lease, an end that waits for a lease: each is one sentence."""
    assert list(copy_differences("payer", COUNTED | changed)) == [f"payer: {sentence}"]


@pytest.mark.parametrize(
    ("drawn", "called_back", "seconds", "sentences"),
    [
        (1, 0, 45.0, []),
        (1, 1, 600.0, []),
        (0, 1, 45.0, ["nothing was drawn from leases"]),
        (1, 0, 600.0, ["no lease was called back in 600 s"]),
    ],
)
def test_a_campaign_without_leases_is_none(
    drawn: int, called_back: int, seconds: float, sentences: list[str]
) -> None:
    """It has to draw from leases, and a long one to call some back."""
    seen = {"drawn": drawn, "called back": called_back}
    assert list(unused_leases(seen, seconds)) == sentences
