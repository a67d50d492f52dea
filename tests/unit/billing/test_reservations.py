"""Reservations: the table of states, and the record that travels with a hold."""

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import MAX_NANOS
from billing.refusals import KINDS
from billing.reservations import (
    BUDGET_KINDS,
    CREDITS,
    MAX_COUNTED,
    TRANSITIONS,
    Budget,
    Event,
    Hold,
    Share,
    State,
    parse_record,
)

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)

MOVES = {
    ("pending", "billed", "settled"),
    ("pending", "not_billed", "released"),
    ("pending", "lifetime_over", "expired"),
    ("expired", "billed", "late"),
    ("expired", "not_billed", "late"),
}

budgets = st.builds(
    Budget,
    name=st.sampled_from([f"{kind}:llm" for kind in BUDGET_KINDS]),
    window_s=st.integers(0, 2**40),
    limit=st.integers(0, MAX_COUNTED),
    amount=st.integers(0, MAX_COUNTED),
)
holds = st.builds(
    Hold,
    reservation_id=st.just("r"),
    account_id=st.just("a"),
    amount_nanos=st.integers(0, MAX_NANOS),
    expires_s=st.integers(0, 2**40),
    budgets=st.lists(budgets, max_size=5).map(tuple),
)


@pytest.mark.parametrize(("state", "event"), list(product(STATES, EVENTS)))
def test_every_pair_of_state_and_event(state: State, event: Event) -> None:
    """Each of the fifteen pairs moves where the theory says, or stays where it is."""
    expected = next((to for was, by, to in MOVES if (was, by) == (state, event)), None)
    assert TRANSITIONS.get((state, event)) == expected


@given(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=8))
def test_a_reservation_leaves_pending_once(events: list[Event]) -> None:
    """Whatever arrives, and however often, a reservation ends once and is late at most once."""
    state: State = "pending"
    seen = [state]
    for event in events:
        state = TRANSITIONS.get((state, event), state)
        if state != seen[-1]:
            seen.append(state)
    assert seen[0] == "pending"
    assert len(seen) == (3 if seen[-1] == "late" else 2)


def test_no_event_leaves_an_end() -> None:
    """Settled, released and late are final."""
    assert {state for state, _ in TRANSITIONS} == {"pending", "expired"}


def test_the_table_cannot_be_changed() -> None:
    """Nobody adds a move while the program runs."""
    with pytest.raises(TypeError):
        TRANSITIONS["settled", "billed"] = "pending"  # type: ignore[index]


@given(holds)
def test_a_record_reads_back(hold: Hold) -> None:
    """What a hold writes is read back with the same amount, end of life and shares."""
    record = parse_record(hold.record())
    assert record.amount_nanos == hold.amount_nanos
    assert record.expires_s == hold.expires_s
    assert record.shares == tuple(Share(b.name, b.window_s, b.amount) for b in hold.budgets)


def test_a_record_is_the_text_that_others_parse() -> None:
    """The form of the record is fixed: scripts and old journals read it."""
    hold = Hold("r", "a", 7, 99, (Budget("units:llm", 5, 10, 3), Budget("flight:llm", 0, 2, 1)))
    assert hold.record() == "7|99|units:llm~5~3|flight:llm~0~1"


@pytest.mark.parametrize(
    "text", ["", "7", "x|99", "7|x", "7|99|units:llm~5", "7|99|units:llm~5~x", "7|99|a~1~2~3"]
)
def test_a_damaged_record_is_refused(text: str) -> None:
    """Text that no hold wrote raises ValueError instead of a wrong hold."""
    with pytest.raises(ValueError, match=r".+"):
        parse_record(text)


@pytest.mark.parametrize(
    ("amount", "share", "limit"),
    [
        (-1, 0, 0),
        (MAX_NANOS + 1, 0, 0),
        (0, -1, 0),
        (0, MAX_COUNTED + 1, 0),
        (0, 0, MAX_COUNTED + 1),
    ],
)
def test_a_hold_out_of_bounds_is_a_bug(amount: int, share: int, limit: int) -> None:
    """Negative and too large amounts never reach a store."""
    with pytest.raises(AssertionError):
        Hold("r", "a", amount, 99, (Budget("units:llm", 0, limit, share),))


def test_each_kind_of_budget_has_its_refusal() -> None:
    """A shortage of any budget can be told to a client, and credits are none of the counted."""
    assert set(BUDGET_KINDS.values()) <= set(KINDS)
    assert CREDITS not in BUDGET_KINDS
